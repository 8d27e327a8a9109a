import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.store.budget import Budget, BudgetExceeded, Reservation
from offramp.store.engine import open_store
from offramp.store.owners import Owner, current_owner, owner_alive

WORKER = """
import sys, random
from offramp.store.engine import open_store
from offramp.store.budget import BudgetExceeded, Budget
url, cap, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
rng, total, over = random.Random(seed), 0, 0
with open_store(url) as store:
    budget = Budget(store, "p", cap_usd=cap)
    for _ in range(40):
        asked = rng.randrange(1, 50_000_000)
        try:
            held = budget.reserve(asked / 1e9)
        except BudgetExceeded:
            continue
        state = budget.state()
        over += state.spent_usd + state.reserved_usd > cap + 1e-12
        paid = rng.randrange(0, asked + 1)
        budget.settle(held, paid / 1e9)
        total += paid
print(total, over)
"""


def test_what_is_reserved_then_settled_is_spent(store):
    budget = Budget(store, "p", cap_usd=1.0, cap_calls=3)
    held = budget.reserve(0.4)
    assert (budget.state().reserved_usd, budget.state().reserved_calls) == (0.4, 1)
    assert budget.settle(held, 0.1)
    state = budget.state()
    assert (state.spent_usd, state.reserved_usd, state.calls, state.reserved_calls) == (0.1, 0.0, 1, 0)


def test_a_reservation_is_settled_once(store):
    budget = Budget(store, "p")
    held = budget.reserve(0.4)
    assert (budget.settle(held, 0.1), budget.settle(held, 0.1), budget.release(held)) == (True, False, False)
    assert budget.state().spent_usd == 0.1


def test_a_released_reservation_costs_no_money_and_no_call(store):
    budget = Budget(store, "p", cap_usd=1.0, cap_calls=1)
    budget.release(budget.reserve(1.0))
    assert budget.reserve(1.0).usd == 1.0


def test_the_cap_counts_what_is_reserved(store):
    budget = Budget(store, "p", cap_usd=1.0)
    budget.reserve(0.7)
    with pytest.raises(BudgetExceeded) as caught:
        budget.reserve(0.4)
    error = caught.value
    assert (error.which, error.cap, error.spent, error.reserved, error.asked) == ("usd", 1.0, 0.0, 0.7, 0.4)
    assert error.may_free_up


def test_the_cap_of_calls_holds_without_a_price(store):
    budget = Budget(store, "p", cap_calls=2)
    for _ in range(2):
        budget.settle(budget.reserve(0.0), 0.0)
    with pytest.raises(BudgetExceeded, match="calls") as caught:
        budget.reserve(0.0)
    assert not caught.value.may_free_up


def test_exactly_the_cap_may_be_spent(store):
    budget = Budget(store, "p", cap_usd=0.3)
    for _ in range(3):
        budget.settle(budget.reserve(0.1), 0.1)
    assert budget.state().spent_usd == 0.3
    with pytest.raises(BudgetExceeded):
        budget.reserve(1e-9)


def test_a_bill_above_the_reservation_is_booked_in_full(store):
    budget = Budget(store, "p", cap_usd=1.0)
    budget.settle(budget.reserve(0.9), 1.5)
    assert budget.state().spent_usd == 1.5


def test_after_a_bill_above_the_reservation_as_much_more_is_set_aside(store):
    budget = Budget(store, "p", cap_usd=1.0)
    budget.settle(budget.reserve(0.1), 0.3)
    assert budget.reserve(0.1).usd == pytest.approx(0.3)
    again = Budget(store, "p", cap_usd=1.0)
    again.settle(again.reserve(0.1), 0.2)
    with pytest.raises(BudgetExceeded):
        again.reserve(0.1)
    assert Budget(store, "other", cap_usd=1.0).reserve(0.1).usd == 0.1


def test_one_odd_bill_does_not_close_a_purse_and_the_message_says_what_is_set_aside(store):
    budget = Budget(store, "p", cap_usd=1.0)
    budget.settle(budget.reserve(0.0001), 0.02)
    budget.release(budget.reserve(0.05))
    with pytest.raises(BudgetExceeded, match="10 times its own bound"):
        budget.reserve(0.1)


@given(tokens=st.lists(st.integers(1, 400), min_size=5, max_size=60), most=st.floats(1.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_a_provider_that_bills_more_than_it_should_passes_the_cap_by_its_first_surprise_at_most(
    tmp_path_factory, tokens, most
):
    cap = 1000 / 1e6
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('s') / 's.db'}", create=True) as store:
        budget, seen = Budget(store, "p", cap_usd=cap), 0.0
        for i, count in enumerate(tokens):
            usd = count / 1e6
            billed = usd * (1.0 if i % 3 else most)
            try:
                held = budget.reserve(usd)
            except BudgetExceeded:
                continue
            budget.settle(held, billed)
            assert budget.state().spent_usd <= cap + (0.0 if seen >= most * (1 - 1e-6) else billed - usd) + 1e-9
            seen = max(seen, billed / usd)


def test_a_raised_cap_goes_on_from_what_was_spent(store):
    first = Budget(store, "p", cap_usd=1.0)
    first.settle(first.reserve(1.0), 1.0)
    second = Budget(store, "p", cap_usd=1.5)
    assert second.state().spent_usd == 1.0
    second.reserve(0.5)
    with pytest.raises(BudgetExceeded):
        second.reserve(0.1)


def test_purses_do_not_share_money(store):
    one, two = Budget(store, "one", cap_usd=1.0), Budget(store, "two", cap_usd=1.0)
    one.reserve(1.0)
    assert two.reserve(1.0).usd == 1.0


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_what_is_no_amount_of_money_is_a_defect(store, amount):
    with pytest.raises(ValueError, match="amount of money"):
        Budget(store, "p").reserve(amount)


def test_tiny_amounts_are_reserved_upwards(store):
    assert Budget(store, "p").reserve(1e-12).nano == 1


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1), st.booleans()), max_size=15))
def test_any_order_of_steps_keeps_the_books(tmp_path_factory, steps):
    """Against a model kept in plain integers."""
    with open_store(f"sqlite:///{tmp_path_factory.mktemp('p')}/x.db") as store:
        budget, spent, held = Budget(store, "p", cap_usd=2.0), 0, []
        for nano, share, close in steps:
            if close and held:
                first: Reservation = held.pop(0)
                paid = int(first.nano * share)
                budget.settle(first, paid / 1e9)
                spent += paid
            room = spent + sum(r.nano for r in held) + nano <= 2 * 10**9
            if room:
                held.append(budget.reserve(nano / 1e9))
            else:
                with pytest.raises(BudgetExceeded):
                    budget.reserve(nano / 1e9)
        state = budget.state()
        assert round(state.spent_usd * 1e9) == spent
        assert round(state.reserved_usd * 1e9) == sum(r.nano for r in held)


def test_threads_never_pass_the_cap_together(store):
    budget, paid, over = Budget(store, "p", cap_usd=1.0), [], []

    def work():
        for _ in range(15):
            try:
                held = budget.reserve(0.05)
            except BudgetExceeded:
                continue
            state = budget.state()
            over.append(state.spent_usd + state.reserved_usd > 1.0)
            budget.settle(held, 0.03)
            paid.append(0.03)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = budget.state()
    assert not any(over) and paid
    assert state.spent_usd == pytest.approx(sum(paid)) and state.spent_usd <= 1.0 and state.reserved_usd == 0.0


def test_four_processes_never_pass_the_cap_together(store_url):
    open_store(store_url).close()
    command = [sys.executable, "-c", WORKER, store_url, "1.0"]
    runs = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(4)]
    outputs = [run.communicate()[0].split() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    with open_store(store_url) as store:
        state = Budget(store, "p", cap_usd=1.0).state()
    assert all(over == "0" for _, over in outputs)
    assert round(state.spent_usd * 1e9) == sum(int(total) for total, _ in outputs)
    assert 0.9 < state.spent_usd <= 1.0 and state.reserved_usd == 0.0


def test_what_a_killed_process_had_reserved_is_assumed_spent(store_url):
    hold = (
        "import sys, time\nfrom offramp.store.engine import open_store\nfrom offramp.store.budget import Budget\n"
        "Budget(open_store(sys.argv[1]), 'p', cap_usd=1.0).reserve(0.6)\nprint('held', flush=True)\ntime.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", hold, store_url], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "held\n"
    with open_store(store_url) as store:
        budget = Budget(store, "p", cap_usd=1.0)
        assert budget.recover() == 0.0  # it lives
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert budget.recover() == pytest.approx(0.6)
        state = budget.state()
        assert (state.spent_usd, state.assumed_usd, state.reserved_usd, state.calls) == (0.6, 0.6, 0.0, 1)
        assert budget.recover() == 0.0


def test_a_reservation_recovered_from_under_its_owner_is_not_booked_twice(store):
    budget = Budget(store, "p")
    held = budget.reserve(0.5)
    budget.recover(lambda _: False)
    assert budget.settle(held, 0.1) is False
    assert budget.state().spent_usd == 0.5


def test_a_very_old_reservation_belongs_to_nobody(store):
    import time

    budget = Budget(store, "p")
    budget.reserve(0.5)
    assert budget.recover(lambda _: True, now=lambda: time.time() + 7 * 3600) == 0.5


def test_an_owner_is_alive_until_its_process_id_is_used_by_another_process():
    me = current_owner()
    assert owner_alive(me)
    boot, namespace, _ = me.token.split("|")
    assert not owner_alive(Owner(host=me.host, pid=me.pid, token=f"{boot}|{namespace}|1"))
    assert not owner_alive(Owner(host=me.host, pid=me.pid, token=f"another-boot|{namespace}|1"))


def test_an_owner_that_cannot_be_looked_into_counts_as_alive():
    me = current_owner()
    boot = me.token.split("|")[0]
    assert owner_alive(Owner(host="elsewhere", pid=1, token="x|y|z"))
    assert owner_alive(Owner(host=me.host, pid=2**22 + 7, token=f"{boot}|pid:[1]|1"))


def test_what_a_process_remembers_of_its_budget_is_what_the_storage_says(store):
    budget = Budget(store, "b", 2.0, 9)
    kept, gone = budget.reserve(0.3), budget.reserve(0.2)
    assert budget.seen == budget.state()
    budget.settle(kept, 0.9)  # a bill above its bound
    budget.release(gone)
    budget.settle(budget.reserve(0.1), 0.05, assumed=True)
    budget.set_caps(1.5, None)
    assert budget.seen == budget.state()
    assert (budget.seen.cap_usd, budget.seen.cap_calls, budget.seen.surplus) == (1.5, None, pytest.approx(3.0))
    assert Budget(store, "b", 1.5).seen == budget.state()
