"""`offramp.Optimizer` as an optimizer of DSPy: programs of several predictors, an agent and a RAG, all in memory."""

import asyncio
import os
import re
import subprocess
import sys
import textwrap
import threading
from typing import Literal

import dspy
import pytest
import yaml
from dspy.teleprompt import Teleprompter

import offramp
from offramp.errors import JobError, UsageError
from offramp.program.live_program import described_inputs, outputs_of, rows_of
from offramp.testing.server import ScriptedServer, ServerReply

HOURS = {"Basel": "8", "Bern": "7", "Geneva": "9", "Lugano": "10", "Zug": "6"}
THINGS = ["desk", "phone", "garage", "canteen"]
DOCUMENTS = [f"The {thing} in {city} opens at {hour}." for city, hour in HOURS.items() for thing in THINGS]


def field(text: str, name: str) -> str:
    """A field of the last input of a chat request."""
    last = text.rpartition(f"[[ ## {name} ## ]]\n")[2]
    return last.partition("\n\n")[0].strip()


def answers(body: dict) -> ServerReply:
    """A model that is right when it is large, told to be strict, or shown demos."""
    messages = [str(m["content"]) for m in body["messages"]]
    system, user, whole = messages[0], messages[-1], "\n".join(messages)
    if "proposed" in whole.lower() and "instruction" in whole.lower() and "[[ ##" not in user:
        return ServerReply(text="Strict: answer with the hour alone.")
    strong = body["model"] == "large" or "Strict" in system or len(messages) > 2
    wanted = re.findall(r"\[\[ ## (\w+) ## \]\]", user.rpartition("Respond with the corresponding output fields")[2])
    question = field(user, "question")
    city = next((city for city in HOURS if city in question), "Basel")
    values = {
        "verdict": "True", "query": question, "city": city, "reasoning": "It is known.",
        "answer": HOURS[city] if strong else "noon",
        "next_thought": "I look it up.", "next_tool_name": "finish" if "Observation" in user or "observation" in user
        else "opening_hour", "next_tool_args": '{}' if "observation" in user.lower() else f'{{"city": "{city}"}}',
    }  # fmt: skip
    text = "".join(f"[[ ## {name} ## ]]\n{values.get(name, '')}\n\n" for name in wanted if name != "completed")
    return ServerReply(text=f"{text}[[ ## completed ## ]]", usage={"prompt_tokens": 50, "completion_tokens": 5})


@pytest.fixture(scope="module")
def server():
    with ScriptedServer(answers) as running:
        yield running


class Rag(dspy.Module):
    """Two predictors and a retriever."""

    def __init__(self, documents):
        super().__init__()
        self.documents = documents
        self.search = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("context: list[str], question -> answer")

    def forward(self, question):
        words = set(re.findall(r"\w+", self.search(question=question).query))
        context = sorted(self.documents, key=lambda text: -len(words & set(re.findall(r"\w+", text))))[:3]
        return dspy.Prediction(answer=self.answer(context=context, question=question).answer, context=context)


class Steps(dspy.Module):
    """Three predictors, one of them held in a list."""

    def __init__(self):
        super().__init__()
        self.first = [dspy.Predict("question -> city")]
        self.middle = dspy.Predict("city, question -> query")
        self.last = dspy.Predict("question, city, query -> answer")

    def forward(self, question):
        city = self.first[0](question=question).city
        query = self.middle(city=city, question=question).query
        return self.last(question=question, city=city, query=query)


def opening_hour(city: str) -> str:
    """The hour at which the offices of a city open."""
    return HOURS.get(city, "unknown")


class Agent(dspy.Module):
    """An agent with a tool."""

    def __init__(self):
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[opening_hour], max_iters=3)

    def forward(self, question):
        return self.agent(question=question)


PROGRAMS = {
    "rag": lambda: Rag(DOCUMENTS),
    "steps": Steps,
    "agent": Agent,
    "predict": lambda: dspy.Predict("question -> answer"),
    "thought": lambda: dspy.ChainOfThought("question -> answer"),
}


def exact(example, pred, trace=None):
    return example.answer == pred.answer


def examples(start: int, count: int) -> list[dspy.Example]:
    cities = list(HOURS)
    return [
        dspy.Example(question=f"When does the {THINGS[i % 4]} number {i} in {cities[i % 5]} open?",
                     answer=HOURS[cities[i % 5]]).with_inputs("question")
        for i in range(start, start + count)
    ]  # fmt: skip


TRAIN, VALID = examples(0, 6), examples(6, 16)


def models(server: ScriptedServer) -> list[dict]:
    cheap, dear = {"input_usd": 1, "output_usd": 2}, {"input_usd": 10, "output_usd": 30}
    return [
        {"name": "small", "route": "openai/small", "api_base": server.url, "price": cheap},
        {"name": "large", "route": "openai/large", "api_base": server.url, "price": dear},
    ]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")


def optimizer(server, **more):
    given = {"models": models(server), "trials": 4, "rounds": 0, "demos": (2,), "objectives": {"latency": None}}
    return offramp.Optimizer(exact, **{**given, **more})


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_compiled_program_is_the_same_module_and_survives_saving_and_loading(server, tmp_path, name: str):
    program = PROGRAMS[name]()
    before = program.dump_state()
    optimize = optimizer(server)
    compiled = optimize.compile(program, trainset=TRAIN, valset=VALID)
    assert type(compiled) is type(program) and isinstance(compiled, dspy.Module) and compiled is not program
    assert program.dump_state() == before, "what is given is not changed"
    assert optimize.study is compiled.study and optimize.study.recommended.quality == 1.0
    assert [n for n, _ in compiled.named_predictors()] == [n for n, _ in program.named_predictors()]
    right = [compiled(question=e.question).answer == e.answer for e in VALID[:3]]
    assert right == [True] * 3

    compiled.save(tmp_path / "state.json")
    fresh = PROGRAMS[name]()
    fresh.load(tmp_path / "state.json", allow_unsafe_lm_state=True)
    assert fresh.dump_state() == compiled.dump_state()
    assert fresh(question=VALID[1].question).answer == VALID[1].answer

    compiled.save(tmp_path / "whole", save_program=True)
    whole = dspy.load(tmp_path / "whole", allow_pickle=True)
    assert whole.dump_state() == compiled.dump_state() and whole.study.study == compiled.study.study


def test_it_is_an_optimizer_of_dspy_and_takes_what_others_take(server, caplog):
    optimize = optimizer(server, trials=2, demos=())
    assert isinstance(optimize, Teleprompter)
    compiled = optimize.compile(
        PROGRAMS["predict"](), trainset=TRAIN, valset=VALID, requires_permission_to_run=False, minibatch=False
    )
    assert compiled._compiled and "minibatch has no effect" in caplog.text
    assert "<svg" in optimize.study._repr_html_() and "calls" in repr(optimize.run)
    assert list(optimize.study.to_frame()["candidate"]) == [m.candidate for m in optimize.study.members]
    with pytest.raises(TypeError, match=r"'valest'.*'valset'"):
        optimize.compile(PROGRAMS["predict"](), trainset=TRAIN, valest=VALID)


def test_a_choice_that_is_not_in_the_study_is_found_after_it_has_paid_and_says_so_by_its_class(server):
    optimize = optimizer(server, pick="nobody", trials=2, demos=())
    with pytest.raises(JobError, match="no such candidate in the study"):
        optimize.compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID)
    assert optimize.study is not None and optimize.run.calls > 0


def test_the_same_call_again_pays_for_nothing_and_gives_the_same_program(server):
    first = optimizer(server)
    state = first.compile(PROGRAMS["rag"](), trainset=TRAIN, valset=VALID).dump_state()
    second = optimizer(server)
    assert second.compile(PROGRAMS["rag"](), trainset=TRAIN, valset=VALID).dump_state() == state
    assert second.run.calls == 0 and second.study.study == first.study.study


def test_new_instructions_are_written_and_may_be_chosen(server):
    optimize = optimizer(server, trials=8, rounds=1, demos=(), models=models(server)[:1])
    compiled = optimize.compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID)
    assert [p.kind for p in optimize.study.proposals if p.round], "a model wrote some"
    given = optimizer(server, demos=(), models=models(server)[:1], instructions={"main": ["Strict. Give the hour."]})
    compiled = given.compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID)
    assert compiled.signature.instructions == "Strict. Give the hour."
    assert optimize.study.study != given.study.study


@pytest.mark.parametrize("wanted", ["configured", "given", "of the program"])
def test_language_models_of_dspy_are_models_and_their_keys_are_written_nowhere(server, tmp_path, wanted: str):
    key = "sk-abcdefghijklmnop0123456789"
    lm = dspy.LM("openai/large", api_base=server.url, api_key=key, temperature=0.3, max_tokens=100)
    program = PROGRAMS["predict"]()
    before = set(os.environ)
    if wanted == "of the program":
        program.set_lm(lm)
    optimize = optimizer(server, models=[lm] if wanted == "given" else None, trials=2)
    with dspy.context(lm=lm if wanted == "configured" else None):
        compiled = optimize.compile(program, trainset=TRAIN, valset=VALID)
    assert compiled.lm.model == "openai/large" and compiled.lm.kwargs["api_key"] == key
    assert optimize.study.recommended.params["temperature"] == 0.3
    assert {r.headers["authorization"] for r in server.requests if r.body["model"] == "large"} >= {f"Bearer {key}"}
    assert set(os.environ) == before
    written = [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert written == []


def test_without_a_valset_the_examples_are_divided_and_a_testset_is_the_holdout(server, tmp_path):
    optimize = optimizer(server, trials=2, demos=())
    optimize.compile(PROGRAMS["predict"](), trainset=examples(0, 20))
    assert optimize.study.holdout_examples == 7
    optimize.compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID, testset=examples(40, 5))
    assert optimize.study.holdout_examples == 5 and optimize.study.recommended.search.n == len(VALID)


def test_what_was_compiled_is_promoted_and_loaded_like_any_other(server):
    program = PROGRAMS["rag"]()
    compiled = optimizer(server).compile(program, trainset=TRAIN, valset=VALID)
    offramp.promote(force=True, why="a test")
    loaded = offramp.load("rag", module=lambda: program, api_base=server.url)
    assert loaded(question=VALID[0].question).answer == compiled(question=VALID[0].question).answer
    assert offramp.check("rag", margin=0.5).holds


def test_it_works_where_an_event_loop_runs(server):
    async def cell():
        return optimizer(server, trials=2).compile(PROGRAMS["rag"](), trainset=TRAIN, valset=VALID)

    assert isinstance(asyncio.run(cell()), Rag)


class Sort(dspy.Signature):
    """Which city a question is about."""

    question: str = dspy.InputField()
    city: Literal["Basel", "Bern", "Geneva", "Lugano", "Zug"] = dspy.OutputField()


def gepa(gold, pred, trace, pred_name, pred_trace):
    """As GEPA's metrics."""
    right = gold.city == pred.city
    return dspy.Prediction(score=float(right), feedback="Right." if right else f"It is {gold.city}.")


def cities(rows: list[dspy.Example]) -> list[dspy.Example]:
    found = [next(city for city in HOURS if city in row.question) for row in rows]
    return [
        dspy.Example(question=row.question, city=city).with_inputs("question")
        for row, city in zip(rows, found, strict=True)
    ]


def test_typed_outputs_and_metrics_with_feedback_are_taken_as_they_are(server):
    optimize = offramp.Optimizer(
        gepa, models=models(server), trials=3, rounds=0, demos=(2,), objectives={"latency": None}
    )
    compiled = optimize.compile(dspy.Predict(Sort), trainset=cities(TRAIN), valset=cities(VALID))
    assert compiled(question="What is open in Zug?").city == "Zug" and optimize.study.recommended.quality == 1.0


class Judge(dspy.Module):
    """A metric that asks a model."""

    def __init__(self):
        super().__init__()
        self.grade = dspy.Predict("question, answer -> verdict: bool")

    def forward(self, example, pred, trace=None):
        return self.grade(question=example.question, answer=pred.answer).verdict


def test_a_metric_that_asks_a_model_names_it(server):
    optimize = optimizer(server, trials=2, demos=(), metric_model=models(server)[1])
    optimize.metric = Judge()
    compiled = optimize.compile(PROGRAMS["predict"](), trainset=TRAIN[:3], valset=VALID[:6])
    assert isinstance(compiled, dspy.Predict) and optimize.study.recommended.quality == 1.0


def test_images_are_inputs_too(server):
    square = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    rows = [
        dspy.Example(picture=dspy.Image(square), question=row.question, answer=row.answer).with_inputs(
            "picture", "question"
        )
        for row in (*TRAIN, *VALID)
    ]
    program = dspy.Predict("picture: dspy.Image, question -> answer")
    compiled = optimizer(server, trials=1, demos=()).compile(program, trainset=rows[:6], valset=rows[6:])
    assert compiled.signature.input_fields["picture"].annotation is dspy.Image
    assert any("image_url" in str(request.body["messages"]) for request in server.requests)


def test_recordings_files_lists_of_images_and_nulls_are_inputs_as_a_space_file_has_them():
    image, audio = dspy.Image("https://example.org/a.png"), dspy.Audio(data="UklGRg==", audio_format="wav")
    paper = dspy.File(file_data="data:application/pdf;base64,JVBERi0=", filename="a.pdf")
    rows = [
        dspy.Example(q="a", pages=[image, image], speech=audio, paper=paper, note=None),
        dspy.Example(q="b", pages=[image], speech=None, paper=paper, note="n"),
    ]
    assert described_inputs(rows, ["q", "pages", "speech", "paper", "note"]) == {
        "q": None, "pages": {"type": "image"}, "speech": {"type": "audio", "optional": True},
        "paper": {"type": "file"}, "note": {"optional": True},
    }  # fmt: skip
    first, second = rows_of({"train": rows})
    assert first["pages"] == ["https://example.org/a.png"] * 2 and first["speech"] == "data:audio/wav;base64,UklGRg=="
    assert first["paper"] == "data:application/pdf;base64,JVBERi0=" and second["speech"] is None


class Graded(dspy.Module):
    """Gives what no predictor writes."""

    def __init__(self):
        super().__init__()
        self.think = dspy.Predict("question -> thought")

    def forward(self, question, note=None):
        thought = self.think(question=question).thought
        if not thought:
            return dspy.Prediction(answer="")
        return dspy.Prediction(answer=thought.strip(), length=len(thought))


def look_up(number: int) -> str:
    """A tool."""
    return str(number)


@pytest.mark.parametrize(
    ("program", "labels", "outputs"),
    [
        (dspy.ReActV2("question -> answer", tools=[look_up]), ["answer"], ("answer",)),
        (dspy.ReAct("question -> answer", tools=[look_up]), ["answer"], ("answer",)),
        (dspy.ChainOfThought("question -> answer"), [], ("answer",)),
        (Graded(), ["answer"], ("answer",)),
        (Graded(), ["label"], ("answer", "length")),
        (dspy.Predict("question -> answer"), ["label"], ("answer",)),
    ],
)
def test_what_a_program_gives_is_read_from_its_parts_and_its_code(program, labels, outputs):
    assert outputs_of(program, labels) == outputs


def test_a_null_input_and_an_output_that_no_predictor_writes_run_through(server):
    rows = [
        dspy.Example(question=row.question, note=None if i % 2 else "n", answer=row.answer).with_inputs(
            "question", "note"
        )
        for i, row in enumerate((*TRAIN, *VALID))
    ]
    optimize = optimizer(server, trials=1, demos=())
    optimize.metric = lambda example, pred, trace=None: isinstance(pred.answer, str)
    compiled = optimize.compile(Graded(), trainset=rows[:6], valset=rows[6:])
    assert optimize.study.recommended.quality == 1.0 and isinstance(compiled(question="x").answer, str)


def test_predictors_with_models_of_their_own_keep_them(server):
    program = Steps()
    own = dspy.LM("openai/small", api_base=server.url, api_key="dummy")
    program.middle.lm = own
    compiled = optimizer(server, trials=2, demos=()).compile(program, trainset=TRAIN, valset=VALID)
    assert compiled.middle.lm.model == "openai/small" and compiled.last.lm.model in ("openai/small", "openai/large")
    assert program.last.lm is None and program.middle.lm is own


def test_a_budget_in_usd_needs_prices_and_says_so(server):
    unknown = {"name": "mine", "route": "openai/mine", "api_base": server.url}
    with pytest.raises(UsageError, match="price"):
        optimizer(server, models=[unknown], budget=1).compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID)
    optimize = optimizer(server, models=[unknown], trials=1, demos=())
    optimize.compile(PROGRAMS["predict"](), trainset=TRAIN, valset=VALID)
    assert [objective.name for objective in optimize.study.objectives] == ["quality"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trainset": []}, "trainset has no example"),
        ({"trainset": [dspy.Example(question="x", answer="y")]}, "with_inputs"),
        ({"valset": VALID[:1]}, "valset: got 1, expected 2 examples or more"),
        ({"testset": VALID, "valset": None}, "a testset needs a valset"),
        (
            {"trainset": [*TRAIN, dspy.Example(question=object(), answer="y").with_inputs("question")]},
            "'question'.*object",
        ),
    ],
)
def test_examples_that_cannot_be_used_are_named(server, change: dict, said: str):
    with pytest.raises(UsageError, match=said):
        optimizer(server).compile(PROGRAMS["predict"](), **{"trainset": TRAIN, "valset": VALID, **change})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "exact"}, "metric: got 'str'"),
        ({"models": [3]}, "models: got 'int'"),
        ({"models": []}, "no model to run on"),
        ({"instructions": {"answr": ["x"]}}, "instructions: got 'answr'"),
        ({"trials": 0}, "^offramp.Optimizer: trials: got 0"),
        ({"budget": -1}, "^offramp.Optimizer: budget: got -1"),
        ({"objectives": {"latencey": None}}, "^offramp.Optimizer: objectives.latencey"),
    ],
)
def test_options_that_cannot_be_used_are_named(server, options: dict, said: str):
    with pytest.raises(UsageError, match=said):
        metric = options.pop("metric", exact)
        offramp.Optimizer(metric, **{"models": models(server), **options}).compile(
            PROGRAMS["rag"](), trainset=TRAIN, valset=VALID
        )


def test_a_metric_that_fails_ends_it_and_says_what_it_has(server):
    def broken(example, pred, trace=None):
        return 1.0 if pred.answer == "noon" else pred.missing

    with pytest.raises(JobError, match=r"row \d+: the prediction has no 'missing'; it has answer"):
        offramp.Optimizer(broken, models=models(server), trials=3, rounds=0).compile(
            PROGRAMS["predict"](), trainset=TRAIN, valset=VALID
        )


NOTEBOOK = """
import dspy, re, sys
import offramp

class Shout(dspy.Module):
    def __init__(self, end):
        super().__init__()
        self.end = end
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return dspy.Prediction(answer=self.answer(question=question).answer)

def exact(example, pred, trace=None):
    return example.answer == pred.answer

hours = {hours!r}
rows = [dspy.Example(question=f"When does number {{i}} in {{city}} open?", answer=hour).with_inputs("question")
        for i in range(4) for city, hour in hours.items()]
price = {{"input_usd": 1, "output_usd": 2}}
model = {{"name": "large", "route": "openai/large", "api_base": {url!r}, "price": price}}
optimizer = offramp.Optimizer(exact, models=[model], trials=2, rounds=0, demos=(2,), progress=False)
compiled = optimizer.compile(Shout("!"), trainset=rows[:6], valset=rows[6:])
assert compiled(question="When does it in Bern open?").answer == "7" and compiled.end == "!"
print(optimizer.study.study, optimizer.run.calls)
"""


def test_a_program_without_a_file_works_and_is_found_again_by_the_same_code(server, tmp_path):
    code = textwrap.dedent(NOTEBOOK).format(hours=HOURS, url=server.url)

    def run(text: str) -> list[str]:
        done = subprocess.run([sys.executable, "-"], input=text, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    study, calls = run(code)
    assert int(calls) > 0 and run(code) == [study, "0"]
    done = subprocess.run(
        [sys.executable, "-m", "offramp.cli.main", "verify", "--probe", "0"], cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 2 and "is in the memory of another process. Run the notebook" in done.stderr, done.stderr
    assert offramp.pareto().study == study, "what needs no program needs no notebook either"
    (folder,) = (tmp_path / "results").glob("shout-*/")
    assert yaml.safe_load((folder / "space.yaml").read_text())["task"]["outputs"] == ["answer"]


def test_a_program_that_no_copy_could_be_made_of_works_too(server):
    class Locked(Rag):
        def __init__(self):
            super().__init__(DOCUMENTS)
            self.lock = threading.Lock()

    compiled = optimizer(server, trials=2).compile(Locked(), trainset=TRAIN, valset=VALID)
    assert isinstance(compiled, Locked)
