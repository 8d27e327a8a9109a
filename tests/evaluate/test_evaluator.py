"""One candidate on examples through the real caller, ledger and results: only the model is a function."""

import asyncio
import json
import random
from contextlib import asynccontextmanager
from types import SimpleNamespace

import dspy
import pytest

from offramp.calls.caller import open_caller
from offramp.calls.failures import BrokenReply, Refused, ServerFailed, Unauthorized
from offramp.errors import JobError, MetricError
from offramp.evaluate.demos import BootstrapFailed
from offramp.evaluate.evaluator import Evaluator, EvaluatorSettings, TooManyFailures
from offramp.evaluate.results import StudyResults
from offramp.records import DemoKind, Example, Purpose, ResultState, Score, Split, Splits
from offramp.space.model import CallsPart, ExactMetric, JudgeMetric
from offramp.store.aggregates import aggregate_of
from offramp.store.budget import Budget, BudgetExceeded
from offramp.store.engine import open_store
from offramp.store.results import ResultStore
from offramp.task.metrics import build_metric
from offramp.task.task import Task
from offramp.testing.fakes import FunctionTransport
from program_runs import HOSTED, LABELS, make_candidate, make_examples, make_fields, roles, user_text

ATTEMPTS = 2
EXACT = ExactMetric(kind="exact", field="category")
JUDGED = JudgeMetric(kind="judge", model="hosted", rubric="Is it right?")


def number_of(request):
    return int(user_text(request).split()[1])


def right(request):
    return LABELS[number_of(request) % 3]


async def at_once(_):
    await asyncio.sleep(0)


class Bench:
    """An evaluator over a transport, with its storage in a folder; `evaluate` runs one candidate."""

    def __init__(self, folder, answers, *, metric=EXACT, train=6, search=8, store_text=True, usd=None, **options):
        self.folder, self.store_text, self.usd, self.options = folder, store_text, usd, options
        self.transport = answers if isinstance(answers, FunctionTransport) else FunctionTransport(answers)
        splits = Splits(train=make_examples(train), search=make_examples(search, 100), holdout=make_examples(2, 900))
        built = metric if hasattr(metric, "score") else build_metric(
            metric, fields=make_fields(), base=folder, models={"hosted": HOSTED}
        )  # fmt: skip
        self.task = Task(name="t", fields=make_fields(), splits=splits, dataset_hash="d", splits_hash="s", metric=built)
        self.seen = []

    def evaluate(self, candidate=None, examples=None, split=Split.SEARCH):
        return asyncio.run(self._evaluate(candidate or make_candidate(), examples or self.task.splits.search, split))

    async def _evaluate(self, candidate, examples, split):
        async with self.open() as evaluator:
            return await evaluator.evaluate(candidate, examples, split=split, on_result=self.seen.append)

    @asynccontextmanager
    async def open(self):
        with open_store(f"sqlite:///{self.folder / 'bench.db'}", create=True) as store:
            caller = open_caller(
                store=store, study="s", store_text=self.store_text, budget=Budget(store, "s", self.usd), concurrency=64,
                calls=CallsPart(attempts=ATTEMPTS), servers=None, rng=random.Random(0), transport=self.transport,
                sleep=at_once,
            )  # fmt: skip
            stopping = {"check": self.options.pop("check")} if "check" in self.options else {}
            results = StudyResults(store, "s", store_text=self.store_text)
            for split in Split:
                results.load(split)
            if (factory := self.options.pop("factory", None)) is not None:
                stopping["factory"] = factory
            evaluator = Evaluator(
                task=self.task, models={"hosted": HOSTED}, send=caller.send,
                results=results, settings=EvaluatorSettings(**{"concurrency": 1, **self.options}), **stopping,
            )  # fmt: skip
            try:
                yield evaluator
            finally:
                await caller.aclose()

    def kept(self, split=Split.SEARCH, candidate=None):
        with open_store(f"sqlite:///{self.folder / 'bench.db'}") as store:
            return ResultStore(store).get("s", split, (candidate or make_candidate()).id)

    @property
    def requests(self):
        return self.transport.requests


def states(evaluation):
    return "".join({"scored": "s", "fault": "f", "failed": "x"}[r.state] for r in evaluation.results)


def failing(*numbers, error=ServerFailed("down")):  # noqa: B008
    return lambda request: error if number_of(request) in numbers else right(request)


# ------------------------------------------------------------------------------------------------- three states


def test_scores_faults_and_failures_are_three_things(tmp_path):
    def answers(request):
        troubles = {101: "nonsense", 102: Refused("no"), 103: ServerFailed("down"), 104: BrokenReply("{")}
        return troubles.get(number_of(request)) or (right(request) if number_of(request) != 105 else LABELS[1])

    evaluation = Bench(tmp_path, answers).evaluate()
    assert states(evaluation) == "sffxxsss"
    assert [r.score for r in evaluation.results] == [1.0, 0.0, 0.0, None, None, 0.0, 1.0, 1.0]
    seen = aggregate_of(evaluation.results)
    assert (seen.n, seen.n_fault, seen.n_failed) == (6, 2, 2)
    assert seen.quality == pytest.approx(3 / 6)
    failed = evaluation.results[3]
    assert (failed.cost_usd, failed.latency_s) == (None, None)
    assert failed.reason == "ServerFailed: down"
    assert all(r.reason for r in evaluation.results if r.state is not ResultState.SCORED)


class Careful(dspy.Module):
    """It raises an exception of its own for the answers that a test names."""

    bad: frozenset[str] = frozenset()

    def __init__(self):
        super().__init__()
        self.sort = dspy.Predict("message -> category")

    def forward(self, message):
        answer = self.sort(message=message)
        if answer.category in self.bad:
            raise KeyError(answer.category)
        return answer


OWN = make_candidate(module="own", instructions={})


def test_an_exception_of_the_module_on_some_rows_is_a_zero_of_those_rows_and_the_job_goes_on(tmp_path):
    class Sometimes(Careful):
        bad = frozenset({LABELS[0]})

    evaluation = Bench(tmp_path, right, factory=Sometimes, search=12).evaluate(OWN)
    lost = [r for r in evaluation.results if r.state is ResultState.PROGRAM_ERROR]
    assert len(lost) == 4 and all(r.score == 0 and r.reason.startswith("KeyError") for r in lost)
    assert len({r.reason for r in lost}) == 1, "reasons group"


def test_an_exception_of_the_module_on_nearly_every_row_stops_the_job(tmp_path):
    class Broken(Careful):
        bad = frozenset(LABELS)

    bench = Bench(tmp_path, right, factory=Broken, search=12)
    with pytest.raises(
        JobError, match=r"exception in 5 of the first 5 runs, the last with KeyError: .*test_evaluator.py:\d+"
    ):
        bench.evaluate(OWN)
    assert len(bench.requests) == 5


def test_a_failure_is_tried_again_at_the_end_of_the_set(tmp_path):
    fails = {101: 2 * ATTEMPTS - 1}

    def answers(request):
        number = number_of(request)
        if fails.get(number, 0) > 0:
            fails[number] -= 1
            return ServerFailed("down")
        return right(request)

    bench = Bench(tmp_path, answers)
    evaluation = bench.evaluate()
    assert states(evaluation) == "s" * 8
    assert [number_of(r) for r in bench.requests][-2:] == [101, 101]
    assert [r.state for r in bench.seen if r.example == "e101"] == [
        ResultState.INFRASTRUCTURE_ERROR,
        ResultState.SCORED,
    ]


def test_when_failures_pile_up_it_stops_names_the_reason_and_keeps_what_it_has(tmp_path):
    bench = Bench(tmp_path, failing(*range(104, 200)), search=40)
    with pytest.raises(TooManyFailures, match=r"most often \(9\): ServerFailed: down.*scored as zero"):
        bench.evaluate()
    assert len(bench.requests) == 4 + ATTEMPTS * 9  # a fifth of 40 may fail, the ninth is too many
    assert sorted(r.score for r in bench.kept().values() if r.score is not None) == [1.0] * 4


def test_three_failures_of_a_small_set_are_not_too_many(tmp_path):
    assert states(Bench(tmp_path, failing(100, 101, 102), search=4).evaluate()) == "xxxs"


@pytest.mark.parametrize("error", [Unauthorized("no key"), MetricError("broken")])
def test_what_would_fail_the_next_example_too_is_raised(tmp_path, error):
    bench = Bench(tmp_path, failing(103, error=error))
    with pytest.raises(type(error)):
        bench.evaluate()
    assert sorted(bench.kept()) == ["e100", "e101", "e102"]


def test_an_empty_purse_is_raised_and_what_was_paid_for_is_kept(tmp_path):
    bench = Bench(tmp_path, right, usd=0.00025)
    short = make_candidate(request_params={"max_tokens": 16})
    with pytest.raises(BudgetExceeded):
        bench.evaluate(short)
    assert 0 < len(bench.kept(candidate=short)) < 8
    assert {r.state for r in bench.kept(candidate=short).values()} == {ResultState.SCORED}


def test_the_check_before_each_example_stops_the_set(tmp_path):
    left = iter([None, None, JobError("time is up")])

    def check():
        if (error := next(left)) is not None:
            raise error

    bench = Bench(tmp_path, right, check=check)
    with pytest.raises(JobError, match="time is up"):
        bench.evaluate()
    assert sorted(bench.kept()) == ["e100", "e101"]


# --------------------------------------------------------------------------------------------- order, concurrency


def test_results_are_in_the_order_of_the_examples_whichever_came_first(tmp_path):
    class Backwards(FunctionTransport):
        """Answers the first example when all others are answered."""

        async def send(self, request, attempt=1):
            while number_of(request) == 100 and len(self.requests) < 7:
                await asyncio.sleep(0.001)
            return await super().send(request, attempt)

    bench = Bench(tmp_path, Backwards(right), concurrency=8)
    evaluation = bench.evaluate()
    assert [r.example for r in evaluation.results] == [e.id for e in bench.task.splits.search]
    assert number_of(bench.requests[-1]) == 100


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_no_more_examples_are_in_work_than_the_job_allows(tmp_path, concurrency):
    allowed = min(concurrency, 8)

    class Counting(FunctionTransport):
        """Answers nobody before as many requests as are allowed are out."""

        busy = most = 0

        async def send(self, request, attempt=1):
            self.busy += 1
            self.most = max(self.most, self.busy)
            while self.most < allowed:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # room for one too many to come
            self.busy -= 1
            return await super().send(request, attempt)

    transport = Counting(right)
    Bench(tmp_path, transport, concurrency=concurrency).evaluate()
    assert transport.most == allowed


def test_concurrency_does_not_change_the_results(tmp_path):
    one = Bench(tmp_path / "1", failing(102, 105), concurrency=1)
    many = Bench(tmp_path / "8", failing(102, 105), concurrency=8)
    assert one.evaluate().results == many.evaluate().results


# --------------------------------------------------------------------------------------------------------- resume


def test_what_is_stored_is_not_run_again_and_what_failed_is(tmp_path):
    first = Bench(tmp_path, failing(102, 105)).evaluate()
    again = Bench(tmp_path, right)
    evaluation = again.evaluate()
    assert [number_of(r) for r in again.requests] == [102, 105]
    assert states(first) == "ssxssxss" and states(evaluation) == "s" * 8
    assert {r.example: r.state for r in again.kept().values()} == {r.example: r.state for r in evaluation.results}


def test_more_examples_of_a_known_candidate_run_only_what_is_new(tmp_path):
    bench = Bench(tmp_path, right)
    bench.evaluate(examples=bench.task.splits.search[:3])
    evaluation = bench.evaluate()
    assert len(bench.requests) == 8 == evaluation.n


def test_a_split_never_answers_for_another(tmp_path):
    bench = Bench(tmp_path, right)
    bench.evaluate()
    bench.evaluate(split=Split.HOLDOUT)
    assert len(bench.requests) == 8, "the ledger has the answers"
    assert [r.cached_calls for r in bench.kept(Split.HOLDOUT).values()] == [1] * 8


def test_a_cached_answer_has_the_cost_and_latency_of_its_physical_request(tmp_path):
    bench = Bench(tmp_path, right)
    paid = bench.evaluate()
    free = bench.evaluate(split=Split.HOLDOUT)
    assert [(r.cost_usd, r.latency_s, r.score) for r in free.results] == [
        (r.cost_usd, r.latency_s, r.score) for r in paid.results
    ]
    seen = aggregate_of(paid.results)
    assert seen.cost_usd > 0 and seen.latency_p50_s == pytest.approx(0.1)


def test_without_texts_scores_are_kept_and_no_word_of_question_or_answer(tmp_path):
    bench = Bench(tmp_path, failing(102), store_text=False)
    bench.evaluate()
    again = Bench(tmp_path, right, store_text=False)
    assert states(again.evaluate()) == "s" * 8
    assert [number_of(r) for r in again.requests] == [102]
    assert [r.score for r in again.kept().values()] == [1.0] * 8
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("bench.db*"))
    assert not [text for text in ("case 10", "Sort the message", *LABELS) if text.encode() in stored]


# ---------------------------------------------------------------------------------------------------------- judge


def judged(grades):
    """The program is always right; the judge gives what `grades` says for the number of the example."""

    def answers(request):
        if request.purpose is not Purpose.JUDGE:
            return right(request)
        text = "".join(message["content"] for message in request.messages)
        number = next(n for n in range(100, 108) if f"case {n}" in text)
        return grades(number)

    return answers


def test_a_judge_that_gives_no_grade_is_a_failure_and_never_a_zero(tmp_path):
    grade = json.dumps({"grade": 5, "why": "fine"})
    bench = Bench(tmp_path, judged(lambda n: "hm" if n == 101 else Refused("no") if n == 102 else grade), metric=JUDGED)
    evaluation = bench.evaluate()
    assert states(evaluation) == "sxxsssss"
    assert len(evaluation.results) - evaluation.n == 2 and all(r.score is None for r in evaluation.results[1:3])
    assert [r.calls + r.cached_calls for r in evaluation.results] == [1] * 8, "the judge's own calls are not counted"


def test_a_judge_that_is_down_stops_the_set_as_any_model_would(tmp_path):
    bench = Bench(tmp_path, judged(lambda n: ServerFailed("judge down")), metric=JUDGED)
    with pytest.raises(TooManyFailures, match="judge down"):
        bench.evaluate()


def test_a_judge_costs_the_purse_and_not_the_candidate(tmp_path):
    grade = json.dumps({"grade": 5, "why": "fine"})
    plain = Bench(tmp_path / "plain", right).evaluate()
    with_judge = Bench(tmp_path / "judged", judged(lambda n: grade), metric=JUDGED)
    cost_usd = aggregate_of(plain.results).cost_usd
    assert aggregate_of(with_judge.evaluate().results).cost_usd == cost_usd
    with open_store(f"sqlite:///{tmp_path / 'judged' / 'bench.db'}") as store:
        assert Budget(store, "s").state().spent_usd > cost_usd * 8


# ------------------------------------------------------------------------------------------------ bootstrapped demos

BOOTSTRAPPED = make_candidate(demo_kind=DemoKind.BOOTSTRAPPED, demo_count=2)


def test_demos_are_what_the_candidate_itself_got_right_on_train(tmp_path):
    def answers(request):
        return LABELS[1] if number_of(request) in (0, 2) else right(request)  # 1 and 4 are right by luck alike

    bench = Bench(tmp_path, answers)
    evaluation = bench.evaluate(BOOTSTRAPPED)
    teaching = [r for r in bench.requests if r.purpose is Purpose.BOOTSTRAP]
    asked = [r for r in bench.requests if r.purpose is Purpose.PROGRAM]
    assert 2 <= len(teaching) <= 6 and {number_of(r) for r in teaching} <= set(range(6))
    assert evaluation.n == len(asked) == 8
    assert {roles(r) for r in asked} == {"suauau"}
    shown = {int(r.messages[i]["content"].split()[1]): r.messages[i + 1]["content"] for r in asked for i in (1, 3)}
    assert len(shown) == 2 and not {0, 2} & set(shown)
    assert all(text == LABELS[number % 3] for number, text in shown.items())


def test_the_same_seed_gives_the_same_demos_whatever_the_concurrency(tmp_path):
    def last(concurrency):
        bench = Bench(tmp_path / str(concurrency), right, concurrency=concurrency)
        bench.evaluate(BOOTSTRAPPED)
        return {r.hash for r in bench.requests if r.purpose is Purpose.PROGRAM}

    assert last(1) == last(8)


def test_demos_are_collected_once_for_a_job_and_for_nothing_by_the_next_one(tmp_path):
    bench = Bench(tmp_path, right)
    bench.evaluate(BOOTSTRAPPED, examples=bench.task.splits.search[:4])
    teaching = sum(r.purpose is Purpose.BOOTSTRAP for r in bench.requests)
    bench.evaluate(BOOTSTRAPPED)
    assert sum(r.purpose is Purpose.BOOTSTRAP for r in bench.requests) == teaching == 2
    assert len(bench.requests) == teaching + 8


def test_fewer_demos_come_back_when_fewer_are_right(tmp_path):
    bench = Bench(tmp_path, lambda r: right(r) if number_of(r) in (3, *range(100, 200)) else "nonsense")
    bench.evaluate(BOOTSTRAPPED)
    assert {roles(r) for r in bench.requests if r.purpose is Purpose.PROGRAM} == {"suau"}


def test_an_outage_never_chooses_the_demos(tmp_path):
    bench = Bench(tmp_path, failing(*range(6)))
    with pytest.raises(BootstrapFailed, match="ServerFailed: down"):
        bench.evaluate(BOOTSTRAPPED)
    assert not bench.kept(candidate=BOOTSTRAPPED)


def test_a_judge_that_grades_nothing_approves_of_nothing(tmp_path):
    bench = Bench(tmp_path, lambda r: "hm" if r.purpose is Purpose.JUDGE else right(r), metric=JUDGED)
    with pytest.raises(TooManyFailures):
        bench.evaluate(BOOTSTRAPPED)
    assert {roles(r) for r in bench.requests if r.purpose is Purpose.PROGRAM} == {"su"}


# --------------------------------------------------------------------------------------------------- broken metrics


def test_a_metric_that_raises_in_the_middle_is_the_users_to_mend_and_no_result(tmp_path):
    async def score(example: Example, outputs, ask):
        if example.id == "e102":
            raise MetricError("m.py: score returned 'good'")
        return Score(value=1.0)

    metric = SimpleNamespace(score=score, judge_models=(), name="own", fingerprint="f")
    bench = Bench(tmp_path, right, metric=metric)
    with pytest.raises(MetricError, match="returned 'good'"):
        bench.evaluate()
    assert sorted(bench.kept()) == ["e100", "e101"]
