"""Money under a cap: reserved before a request leaves, settled after.

Amounts are whole nano-USD, rounded up when reserved and to the nearest when settled. One conditional UPDATE decides, so
threads, processes and hosts that share a database cannot pass the cap together.

A provider may bill more than was reserved, where it counts tokens that nobody sent. The budget remembers by how much at
most, and from then on sets as much more aside.

Invariant: spent + reserved <= cap at every reservation. What a dead process had reserved is settled in full and counted
as assumed: the request may have been billed, and a cap fails closed.
"""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from offramp.errors import CapReached
from offramp.store.engine import Store
from offramp.store.owners import Owner, current_owner, owner_alive
from offramp.store.tables import batch_lines, budgets, reservations

NANO = 10**9
MOST_SURPLUS = 10.0
"""More than this times a request's own bound is never set aside: one odd bill does not close a budget."""
LONGEST_S = 6 * 3600.0
"""A reservation older than this belongs to nobody: one attempt of one request takes minutes."""


class BudgetExceeded(CapReached):
    """A cap that has no room for the next request.

    Attributes:
        which: `usd` or `calls`.
        cap, spent, reserved, asked: in USD, or calls.
    """

    def __init__(
        self, *, which: str, cap: float, spent: float, reserved: float, asked: float, surplus: float = 1.0
    ) -> None:
        self.which, self.cap, self.spent, self.reserved, self.asked = which, cap, spent, reserved, asked
        more = f" ({surplus:.2g} times its own bound, since bills have passed theirs)" if surplus > 1 else ""
        unit = "USD" if which == "usd" else "calls"
        super().__init__(
            f"budget.{which}: the cap of {cap:g} {unit} has no room for the next request: {spent:g} spent, "
            f"{reserved:g} reserved, {asked:g} asked{more}. Raise the cap and run the same command again."
        )

    @property
    def may_free_up(self) -> bool:
        """Whether requests in flight could leave room once they are settled."""
        return self.reserved > 0 and self.spent + self.asked <= self.cap


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Money set aside for one request; `asked_nano` before the budget's surplus."""

    id: str
    nano: int
    calls: int
    asked_nano: int

    @property
    def usd(self) -> float:
        """The amount in USD."""
        return self.nano / NANO


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a reservation: what the request cost, or None where it certainly never left.

    Attributes:
        assumed: the amount is a bound, because the provider did not say.
    """

    reservation: Reservation
    usd: float | None
    assumed: bool = False

    @property
    def surplus(self) -> float:
        """So many times its bound the request cost; 1 where it kept to it."""
        asked = self.reservation.asked_nano
        nano = 0 if self.usd is None else _nano(self.usd, ROUND_HALF_EVEN)
        return min(MOST_SURPLUS, nano / asked) if asked and nano > asked else 1.0


@dataclass(frozen=True, slots=True)
class _Part:
    """What one settlement adds to the columns of a budget, and takes from what is reserved."""

    id: str
    spent: int
    assumed: int
    calls: int
    reserved_nano: int
    reserved_calls: int

    @classmethod
    def of(cls, done: Settlement) -> _Part:
        held, nano = done.reservation, 0 if done.usd is None else _nano(done.usd, ROUND_HALF_EVEN)
        calls = 0 if done.usd is None else held.calls
        return cls(held.id, nano, nano if done.assumed else 0, calls, held.nano, held.calls)


def _given(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


_P = budgets.c
_THIS = _P.id == sa.bindparam("budget")
_SURPLUS = sa.select(_P.surplus).where(_THIS)
_SET_ASIDE = reservations.insert()
_CLAIM = (
    budgets.update()
    .where(
        _THIS,
        sa.or_(_P.cap_nano.is_(None), _P.spent_nano + _P.reserved_nano + _given("nano") <= _P.cap_nano),
        sa.or_(_P.cap_calls.is_(None), _P.calls + _P.reserved_calls + _given("count") <= _P.cap_calls),
    )
    .values(reserved_nano=_P.reserved_nano + _given("nano"), reserved_calls=_P.reserved_calls + _given("count"))
)
"""Makes room where there is some."""
_END = (
    reservations.delete().where(reservations.c.id.in_(sa.bindparam("ids", expanding=True))).returning(reservations.c.id)
)
_CLOSE = (
    budgets.update()
    .where(_THIS)
    .values(
        spent_nano=_P.spent_nano + _given("spent"),
        assumed_nano=_P.assumed_nano + _given("assumed"),
        calls=_P.calls + _given("count"),
        reserved_nano=_P.reserved_nano - _given("freed_nano"),
        reserved_calls=_P.reserved_calls - _given("freed_count"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget at one instant. None: no cap.

    Attributes:
        assumed_usd: the part of `spent_usd` that is a bound, not a bill.
        surplus: so many times its bound is reserved for a request.
    """

    spent_usd: float
    reserved_usd: float
    assumed_usd: float
    calls: int
    reserved_calls: int
    cap_usd: float | None
    cap_calls: int | None
    surplus: float = 1.0


class Budget:
    """The budget `budget_id` of a storage; what was spent stays when it is opened again, with these caps.

    It remembers what this process has reserved and settled, so that progress can be shown without reading (`seen`).
    """

    def __init__(
        self, store: Store, budget_id: str, cap_usd: float | None = None, cap_calls: int | None = None
    ) -> None:
        self._store, self._id = store, budget_id
        self._cap = None if cap_usd is None else _nano(cap_usd, ROUND_HALF_EVEN)
        caps = {"cap_nano": self._cap, "cap_calls": cap_calls}
        zeros = dict.fromkeys(("spent_nano", "reserved_nano", "assumed_nano", "calls", "reserved_calls"), 0)
        with store.transaction() as conn:
            conn.execute(store.upsert(budgets, only=caps), {"id": budget_id, **caps, **zeros})
        self._lock = threading.Lock()
        with store.reading() as conn:
            self._seen: dict[str, Any] = dict(self._row(conn)._mapping)

    @property
    def seen(self) -> BudgetState:
        """The budget as this process knows it, read from nowhere: right unless another process draws on it."""
        with self._lock:
            return _state(SimpleNamespace(**self._seen))

    def set_caps(self, usd: float | None, calls: int | None) -> None:
        """Changes the caps; what is spent and reserved stays."""
        self._cap = None if usd is None else _nano(usd, ROUND_HALF_EVEN)
        changed = {"cap_nano": self._cap, "cap_calls": calls}
        with self._store.transaction() as conn:
            conn.execute(budgets.update().where(budgets.c.id == self._id).values(**changed))
        with self._lock:
            self._seen.update(changed)

    @property
    def capped_usd(self) -> bool:
        """Whether money has a cap here."""
        return self._cap is not None

    def reserve(self, usd: float, calls: int = 1) -> Reservation:
        """Set `usd`, and the budget's surplus on top, aside for `calls` requests that are about to leave.

        Raises:
            BudgetExceeded: a cap has no room; nothing was reserved.
        """
        with self._store.transaction() as conn:
            made = self.reserve_many(conn, [(usd, calls)])[0]
            if isinstance(made, Exception):
                raise made
        return made()

    def reserve_many(
        self, conn: sa.Connection, asked: Sequence[tuple[float, int]]
    ) -> list[Callable[[], Reservation] | Exception]:
        """For `Groups`: for each `(usd, calls)` a reservation as `reserve` makes it, or its BudgetExceeded.

        Those that come first are served first; one that finds no room does not stop a smaller one behind it.
        """
        surplus = conn.execute(_SURPLUS, {"budget": self._id}).scalar_one()
        wanted = []
        for usd, calls in asked:
            nano = _nano(usd, ROUND_CEILING)
            wanted.append(
                Reservation(id=uuid.uuid4().hex, nano=math.ceil(nano * surplus), calls=calls, asked_nano=nano)
            )
        made: list[Reservation | Exception] = [*wanted]
        if not self._claimed(conn, sum(one.nano for one in wanted), sum(one.calls for one in wanted)):
            made = [self._alone(conn, one, surplus) for one in wanted]
        owner = _of(current_owner())
        if rows := [{"budget": self._id, **_row(one), **owner} for one in made if isinstance(one, Reservation)]:
            conn.execute(_SET_ASIDE, rows)
        return [partial(self._reserved, one, surplus) if isinstance(one, Reservation) else one for one in made]

    def _alone(self, conn: sa.Connection, one: Reservation, surplus: float) -> Reservation | BudgetExceeded:
        if self._claimed(conn, one.nano, one.calls):
            return one
        row = self._row(conn, lock=True)  # another host may have settled just now: ask again under the lock
        return one if self._claimed(conn, one.nano, one.calls) else _exceeded(row, one.nano, one.calls, surplus)

    def _reserved(self, made: Reservation, surplus: float) -> Reservation:
        self._note(surplus, reserved_nano=made.nano, reserved_calls=made.calls)
        return made

    def settle(self, reservation: Reservation, usd: float, *, assumed: bool = False) -> bool:
        """Book what the request cost, also where that is more than was reserved.

        Args:
            assumed: the amount is a bound, because the provider did not say.

        Returns:
            False when the reservation was no longer open (settled before, or recovered in full): nothing was booked.
        """
        return self._ended(Settlement(reservation, usd, assumed))

    def release(self, reservation: Reservation) -> bool:
        """Undo a reservation whose request certainly never left: no money, no call."""
        return self._ended(Settlement(reservation, None))

    def settle_many(self, conn: sa.Connection, done: Sequence[Settlement]) -> list[Callable[[], bool]]:
        """For `Groups`: ends reservations as `settle` and `release` do."""
        surplus = max((one.surplus for one in done), default=1.0)
        if surplus > 1.0:
            p = budgets.c
            conn.execute(budgets.update().where(p.id == self._id, p.surplus < surplus).values(surplus=surplus))
        parts = [_Part.of(one) for one in done]
        open_ = set(conn.scalars(_END, {"ids": [part.id for part in parts]}))
        closed = []
        for part in parts:
            closed.append(part.id in open_)
            open_.discard(part.id)  # one that is settled twice here is booked once
        self._close(conn, [part for part, is_open in zip(parts, closed, strict=True) if is_open])
        return [
            partial(self._closed, part, is_open, one.surplus)
            for one, part, is_open in zip(done, parts, closed, strict=True)
        ]

    def release_many(self, conn: sa.Connection, made: Sequence[Reservation]) -> list[Callable[[], bool]]:
        """For `Groups`: as `release`."""
        return self.settle_many(conn, [Settlement(one, None) for one in made])

    def _ended(self, done: Settlement) -> bool:
        with self._store.transaction() as conn:
            (ended,) = self.settle_many(conn, [done])
        return ended()

    def recover(self, alive: Callable[[Owner], bool] = owner_alive, *, now: Callable[[], float] = time.time) -> float:
        """Settle, in full, what dead processes had reserved.

        Returns:
            USD newly assumed spent.
        """
        out = sa.select(batch_lines.c.reservation)  # of batches, which outlive the process that asked for them
        select = sa.select(reservations).where(reservations.c.budget == self._id, reservations.c.id.not_in(out))
        with self._store.reading() as conn:
            rows = conn.execute(select).all()
        dead = [r for r in rows if now() - r.created_at > LONGEST_S or not alive(_owner(r))]
        total = 0
        for row in dead:
            left = Reservation(id=row.id, nano=row.nano, calls=row.calls, asked_nano=row.nano)
            total += row.nano if self._ended(Settlement(left, row.nano / NANO, assumed=True)) else 0
        return total / NANO

    def state(self) -> BudgetState:
        """What is spent and reserved now, over all processes."""
        with self._store.reading() as conn:
            return _state(self._row(conn))

    def _claimed(self, conn: sa.Connection, nano: int, calls: int) -> bool:
        """Whether there was room, which is reserved now."""
        return conn.execute(_CLAIM, {"budget": self._id, "nano": nano, "count": calls}).rowcount == 1

    def _close(self, conn: sa.Connection, parts: Sequence[_Part]) -> None:
        sums = {
            "spent": sum(part.spent for part in parts),
            "assumed": sum(part.assumed for part in parts),
            "count": sum(part.calls for part in parts),
            "freed_nano": sum(part.reserved_nano for part in parts),
            "freed_count": sum(part.reserved_calls for part in parts),
        }
        if parts:
            conn.execute(_CLOSE, {"budget": self._id, **sums})

    def _closed(self, part: _Part, is_open: bool, surplus: float) -> bool:
        added = {"spent_nano": part.spent, "assumed_nano": part.assumed, "calls": part.calls}
        freed = {"reserved_nano": -part.reserved_nano, "reserved_calls": -part.reserved_calls}
        self._note(surplus, **(added | freed if is_open else {}))
        return is_open

    def _note(self, surplus: float = 1.0, **more: int) -> None:
        """Follows in memory what was just written: the surplus, and what is added to which column."""
        with self._lock:
            self._seen["surplus"] = max(self._seen["surplus"], surplus)
            for column, amount in more.items():
                self._seen[column] += amount

    def _row(self, conn: sa.Connection, *, lock: bool = False) -> Any:
        select = sa.select(budgets).where(budgets.c.id == self._id)
        return conn.execute(select.with_for_update() if lock else select).one()


def read_budget(store: Store, budget_id: str) -> BudgetState | None:
    """A budget as it stands, opened by nobody: its caps stay as they are. None where there is none."""
    with store.reading() as conn:
        row = conn.execute(sa.select(budgets).where(budgets.c.id == budget_id)).first()
    return None if row is None else _state(row)


def _state(row: Any) -> BudgetState:
    return BudgetState(
        spent_usd=row.spent_nano / NANO,
        reserved_usd=row.reserved_nano / NANO,
        assumed_usd=row.assumed_nano / NANO,
        calls=row.calls,
        reserved_calls=row.reserved_calls,
        cap_usd=None if row.cap_nano is None else row.cap_nano / NANO,
        cap_calls=row.cap_calls,
        surplus=row.surplus,
    )


def _exceeded(row: Any, nano: int, calls: int, surplus: float) -> BudgetExceeded:
    if row.cap_nano is not None and row.spent_nano + row.reserved_nano + nano > row.cap_nano:
        cap, spent, reserved = (x / NANO for x in (row.cap_nano, row.spent_nano, row.reserved_nano))
        return BudgetExceeded(which="usd", cap=cap, spent=spent, reserved=reserved, asked=nano / NANO, surplus=surplus)
    return BudgetExceeded(
        which="calls", cap=row.cap_calls or 0, spent=row.calls, reserved=row.reserved_calls, asked=calls
    )


def _nano(usd: float, rounding: str) -> int:
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"an amount of money is a finite number from 0, got {usd!r}")
    return int((Decimal(repr(float(usd))) * NANO).to_integral_value(rounding=rounding))


def _row(made: Reservation) -> dict[str, Any]:
    return {"id": made.id, "nano": made.nano, "calls": made.calls, "created_at": time.time()}


def _of(owner: Owner) -> dict[str, Any]:
    return {"host": owner.host, "pid": owner.pid, "token": owner.token}


def _owner(row: Any) -> Owner:
    return Owner(host=row.host, pid=row.pid, token=row.token)
