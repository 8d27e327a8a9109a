"""What providers said in the headers of their replies, as announcements beside those of feeds.

A header does not say whether the model or the address is meant, so it is shown as what it is: a header of a reply.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from offramp.models.retirement.feeds import Announced

if TYPE_CHECKING:
    from offramp.store.engine import Store
    from offramp.store.header_notices import StoredNotice


def announced_in_replies(store: Store) -> tuple[Announced, ...]:
    """The retirements with a date. A server of the user's own speaks for its own names alone."""
    from offramp.store.header_notices import HeaderNoticeStore

    return tuple(
        Announced(
            ids=frozenset(() if one.own else (one.route, one.model)),
            providers=frozenset(() if one.own else (one.route.partition("/")[0],)),
            groups=frozenset((one.route,) if one.own else ()),
            names=frozenset((one.model,) if one.own and one.model != one.route else ()),
            date=datetime.date.fromisoformat(one.notice.sunset),
            announced=one.notice.since,
            note=f"See {one.notice.link}." if one.notice.link else None,
            replied=one.seen_on,
        )
        for one in HeaderNoticeStore(store).all()
        if one.notice.sunset is not None
    )


def deprecated_in_replies(store: Store) -> tuple[StoredNotice, ...]:
    """Those that are deprecated without a date of their end."""
    from offramp.store.header_notices import HeaderNoticeStore

    return tuple(one for one in HeaderNoticeStore(store).all() if one.notice.deprecated and one.notice.sunset is None)
