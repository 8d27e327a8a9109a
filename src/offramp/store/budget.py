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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from offramp.errors import JobError
from offramp.store.engine import Store
from offramp.store.owners import Owner, current_owner, owner_alive
from offramp.store.tables import budgets, reservations

NANO = 10**9
MOST_SURPLUS = 10.0
"""More than this times a request's own bound is never set aside: one odd bill does not close a budget."""
LONGEST_S = 6 * 3600.0
"""A reservation older than this belongs to nobody: one attempt of one request takes minutes."""


class BudgetExceeded(JobError):
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
            f"{reserved:g} reserved, {asked:g} asked{more}. Raise the cap and run the same command again: it resumes."
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
        asked = _nano(usd, ROUND_CEILING)
        with self._store.transaction() as conn:
            surplus = conn.execute(sa.select(budgets.c.surplus).where(budgets.c.id == self._id)).scalar_one()
            nano = math.ceil(asked * surplus)
            made = Reservation(id=uuid.uuid4().hex, nano=nano, calls=calls, asked_nano=asked)
            if conn.execute(self._claim(nano, calls)).rowcount != 1:
                row = self._row(conn, lock=True)  # another host may have settled just now: ask again under the lock
                if conn.execute(self._claim(nano, calls)).rowcount != 1:
                    raise _exceeded(row, nano, calls, surplus)
            conn.execute(reservations.insert().values(budget=self._id, **_row(made), **_of(current_owner())))
        self._note(surplus, reserved_nano=nano, reserved_calls=calls)
        return made

    def settle(
        self, reservation: Reservation, usd: float, *, assumed: bool = False, within: sa.Connection | None = None
    ) -> bool:
        """Book what the request cost, also where that is more than was reserved.

        Args:
            assumed: the amount is a bound, because the provider did not say.
            within: a write transaction to join, so that the bill and its record are kept together or not at all.

        Returns:
            False when the reservation was no longer open (settled before, or recovered in full): nothing was booked.
        """
        nano = _nano(usd, ROUND_HALF_EVEN)
        with self._joined(within) as conn:
            if reservation.asked_nano and nano > reservation.asked_nano:
                self._remember(conn, min(MOST_SURPLUS, nano / reservation.asked_nano))
            return self._close(conn, reservation, nano, nano if assumed else 0, reservation.calls)

    def release(self, reservation: Reservation, *, within: sa.Connection | None = None) -> bool:
        """Undo a reservation whose request certainly never left: no money, no call."""
        with self._joined(within) as conn:
            return self._close(conn, reservation, 0, 0, 0)

    def recover(self, alive: Callable[[Owner], bool] = owner_alive, *, now: Callable[[], float] = time.time) -> float:
        """Settle, in full, what dead processes had reserved.

        Returns:
            USD newly assumed spent.
        """
        with self._store.reading() as conn:
            rows = conn.execute(sa.select(reservations).where(reservations.c.budget == self._id)).all()
        dead = [r for r in rows if now() - r.created_at > LONGEST_S or not alive(_owner(r))]
        total = 0
        for row in dead:
            with self._store.transaction() as conn:
                left = Reservation(id=row.id, nano=row.nano, calls=row.calls, asked_nano=row.nano)
                total += row.nano if self._close(conn, left, row.nano, row.nano, row.calls) else 0
        return total / NANO

    def state(self) -> BudgetState:
        """What is spent and reserved now, over all processes."""
        with self._store.reading() as conn:
            return _state(self._row(conn))

    def _claim(self, nano: int, calls: int) -> sa.Update:
        p = budgets.c
        money = sa.or_(p.cap_nano.is_(None), p.spent_nano + p.reserved_nano + nano <= p.cap_nano)
        count = sa.or_(p.cap_calls.is_(None), p.calls + p.reserved_calls + calls <= p.cap_calls)
        changed = {"reserved_nano": p.reserved_nano + nano, "reserved_calls": p.reserved_calls + calls}
        return budgets.update().where(p.id == self._id, money, count).values(**changed)

    def _remember(self, conn: sa.Connection, surplus: float) -> None:
        p = budgets.c
        conn.execute(budgets.update().where(p.id == self._id, p.surplus < surplus).values(surplus=surplus))
        self._note(surplus)

    def _close(self, conn: sa.Connection, done: Reservation, spent: int, assumed: int, calls: int) -> bool:
        if conn.execute(reservations.delete().where(reservations.c.id == done.id)).rowcount != 1:
            return False
        p = budgets.c
        conn.execute(
            budgets.update()
            .where(p.id == self._id)
            .values(
                spent_nano=p.spent_nano + spent,
                assumed_nano=p.assumed_nano + assumed,
                calls=p.calls + calls,
                reserved_nano=p.reserved_nano - done.nano,
                reserved_calls=p.reserved_calls - done.calls,
            )
        )
        self._note(
            spent_nano=spent, assumed_nano=assumed, calls=calls, reserved_nano=-done.nano, reserved_calls=-done.calls
        )
        return True

    def _note(self, surplus: float = 1.0, **more: int) -> None:
        """Follows in memory what was just written: the surplus, and what is added to which column."""
        with self._lock:
            self._seen["surplus"] = max(self._seen["surplus"], surplus)
            for column, amount in more.items():
                self._seen[column] += amount

    def _row(self, conn: sa.Connection, *, lock: bool = False) -> Any:
        select = sa.select(budgets).where(budgets.c.id == self._id)
        return conn.execute(select.with_for_update() if lock else select).one()

    @contextmanager
    def _joined(self, within: sa.Connection | None) -> Iterator[sa.Connection]:
        if within is not None:
            yield within
            return
        with self._store.transaction() as conn:
            yield conn


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
