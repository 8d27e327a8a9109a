"""The package's functions: what is there, what they refuse, and how they run in an event loop that runs already."""

import asyncio
import inspect
import json
import subprocess
import sys
import threading

import pytest

import offramp
from offramp.cli.main import COMMANDS
from offramp.errors import JobError, OfframpError, UsageError
from offramp.testing.fakes import FunctionTransport
from search_jobs import finished_job, reply_to, write_space

NOT_FUNCTIONS = {"__version__", "OfframpError", "Optimizer", "Unreadable"}
WITHOUT_A_FUNCTION = {"models": "lists and fetches files", "doctor": "looks at this machine"}
OTHER_NAMES = {"space": ("check_space", "show_requests")}


def test_dir_shows_what_is_in_all_and_nothing_else():
    assert dir(offramp) == sorted(offramp.__all__) and len(set(offramp.__all__)) == len(offramp.__all__)
    for name in set(offramp.__all__) - NOT_FUNCTIONS:
        assert inspect.isfunction(getattr(offramp, name)), name


def test_every_command_has_a_function():
    missing = [
        command for command in COMMANDS
        if not set(OTHER_NAMES.get(command, (command,))) <= set(offramp.__all__) and command not in WITHOUT_A_FUNCTION
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize("name", sorted(set(offramp.__all__) - {"__version__"}))
def test_every_name_says_what_it_is_and_every_argument_is_described(name: str):
    described = inspect.getdoc(getattr(offramp, name))
    assert described and described.splitlines()[0].endswith((".", ":")), name
    if inspect.isfunction(getattr(offramp, name)) and not name.startswith(("lm", "load", "read_value")):
        words = described.replace(",", " ").replace(":", " ").split()
        parameters = inspect.signature(getattr(offramp, name)).parameters
        usual = {"results", "feature", "promotions", "label", "study", "open", "name", "folder", "path", "space_file"}
        assert [p for p in parameters if p not in words and p not in usual] == []


def test_a_comparison_accepts_the_same_loss_in_python_as_on_the_command_line():
    from offramp.cli.compare import compare

    margin = next(option for option in compare.params if option.name == "margin")
    assert inspect.signature(offramp.compare).parameters["margin"].default == margin.default


def test_a_folder_of_the_same_name_does_not_hide_a_function():
    done = subprocess.run(
        [sys.executable, "-c",
         "import offramp\nfrom offramp.promote import folder\nimport offramp.review.assets, offramp.promote.gate\n"
         "import types\nassert isinstance(offramp.promote, types.FunctionType), offramp.promote\n"
         "assert isinstance(offramp.review, types.FunctionType), offramp.review\n"
         "from offramp import promote\nassert promote is offramp.promote and folder.DEFAULT_LABEL == 'production'"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_else():
    code = "import offramp, sys; dir(offramp); print(sorted(n for n in sys.modules if n.startswith('offramp')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['offramp']"


# ------------------------------------------------------------------------------------------------ misspelt options


@pytest.mark.parametrize(
    ("function", "given", "meant"),
    [
        ("optimize", "trails", "trials"), ("optimize", "budget_usd", "usd"), ("optimize", "concurency", "concurrency"),
        ("verify", "n_probe", "probe"), ("pareto", "wieghts", "weights"), ("promote", "lable", "label"),
        ("check", "max_cost", "max_cost_usd"), ("migrate", "budget_calls", "calls"), ("report", "output", "out"),
    ],
)  # fmt: skip
def test_a_misspelt_option_names_the_right_one(function: str, given: str, meant: str):
    with pytest.raises(UsageError, match=f"offramp.{function}: no such option: got '{given}'.*'{meant}'") as raised:
        getattr(offramp, function)("latest", **{given: 1})
    assert isinstance(raised.value, TypeError)


def test_an_option_like_no_other_lists_what_there_is():
    with pytest.raises(UsageError, match="Its options: feature, promotions"):
        offramp.history("x", zzz=1)


# ---------------------------------------------------------------------------------------------- inside an event loop


def transport():
    return FunctionTransport(reply_to)


async def awaited(function, *args, **options):
    return function(*args, **options)


def test_optimize_pareto_promote_and_verify_work_where_a_loop_runs_already(tmp_path):
    space = write_space(tmp_path)
    places = {"results": tmp_path / "results"}
    found = asyncio.run(awaited(offramp.optimize, space, trials=3, transport=transport(), **places))
    assert found.report.members and found.error is None
    shown = asyncio.run(awaited(offramp.pareto, **places))
    assert shown.study == found.report.study, "without a name: the latest"
    verified = asyncio.run(awaited(offramp.verify, probe=2, transport=transport(), **places))
    assert verified.report.study == shown.study and verified.stopped is None
    promoted = asyncio.run(
        awaited(offramp.promote, promotions=tmp_path / "promotions", force=True, why="a test", **places)
    )
    assert promoted.promotion.feature == "landscape"
    moves = offramp.history("landscape", promotions=tmp_path / "promotions")
    assert [move.version for move in moves] == [promoted.promotion.version]
    text = offramp.export("landscape", "json", promotions=tmp_path / "promotions").text
    assert "landscape" in json.dumps(json.loads(text))
    checked = asyncio.run(
        awaited(
            offramp.check, "landscape", promotions=tmp_path / "promotions", transport=transport(),
            study_storage=f"sqlite:///{tmp_path}/results/offramp.db",
        )
    )  # fmt: skip
    assert checked.holds


def test_the_same_run_gives_the_same_study_inside_and_outside_of_a_loop(tmp_path):
    space = write_space(tmp_path)
    inside = asyncio.run(awaited(offramp.optimize, space, trials=3, transport=transport(), results=tmp_path / "a"))
    outside = offramp.optimize(space, trials=3, transport=transport(), results=tmp_path / "b")
    assert inside.report.study == outside.report.study
    assert [m.candidate for m in inside.report.members] == [m.candidate for m in outside.report.members]


def test_the_loop_of_the_caller_may_be_one_of_several_threads(tmp_path):
    space = write_space(tmp_path)
    found = {}

    def one(name: str) -> None:
        found[name] = asyncio.run(
            awaited(offramp.optimize, space, trials=2, transport=transport(), results=tmp_path / name)
        )

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(result.report.members) for result in found.values()} == {2}


def test_a_handler_of_fastapi_may_call_them(tmp_path):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app, space = FastAPI(), write_space(tmp_path)

    @app.post("/search")
    async def search() -> dict[str, str]:
        found = offramp.optimize(space, trials=2, transport=transport(), results=tmp_path / "r")
        return {"study": found.report.study, "again": offramp.pareto(results=tmp_path / "r").study}

    answer = TestClient(app).post("/search").json()
    assert answer["study"] == answer["again"] and answer["study"].startswith("landscape")


# ------------------------------------------------------------------------------------------------------- failures


def test_a_run_that_fails_raises_and_says_what_was_kept(tmp_path):
    asked = []

    def fails(request):
        asked.append(request)
        if len(asked) > 25:
            raise JobError("the disk is full")
        return reply_to(request)

    space = write_space(tmp_path, search={"sampler": "random", "trials": 6, "concurrency": 1})
    with pytest.raises(OfframpError) as raised:
        offramp.optimize(space, transport=FunctionTransport(fails), results=tmp_path / "results")
    kept = raised.value.result
    assert kept is not None and kept.report.members and kept.error is raised.value
    assert offramp.pareto(results=tmp_path / "results").study == kept.report.study
    again = offramp.optimize(space, transport=transport(), results=tmp_path / "results")
    assert again.cached_calls >= 20, "what was kept is not paid again"


def test_a_run_that_evaluates_nothing_raises_and_has_its_result(tmp_path):
    space = write_space(tmp_path)
    with pytest.raises(JobError) as raised:
        offramp.optimize(space, calls=3, transport=transport(), results=tmp_path / "results")
    assert raised.value.result.report.members == ()


def test_a_space_that_cannot_be_run_has_no_result(tmp_path):
    with pytest.raises(UsageError) as raised:
        offramp.optimize(tmp_path / "none.yaml")
    assert raised.value.result is None


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_in_a_notebook_stops_the_run_and_keeps_what_it_has(tmp_path, presses: int):
    """As Jupyter sends it: SIGINT to a main thread whose loop runs and that waits in a cell."""
    write_space(tmp_path, search={"sampler": "random", "trials": 6, "concurrency": 1})
    code = f"""
import asyncio, os, signal, sys, threading
sys.path[:0] = {sys.path!r}
from search_jobs import reply_to
import offramp
from offramp.testing.fakes import FunctionTransport
asked = []

def reply(request):
    asked.append(1)
    if 15 <= len(asked) < 15 + {presses}:
        os.kill(os.getpid(), signal.SIGINT)
    return reply_to(request)

async def cell():
    try:
        offramp.optimize("space.yaml", transport=FunctionTransport(reply), progress=False)
    except offramp.OfframpError as error:
        print(type(error).__name__, error.result is not None and len(error.result.report.members) > 0)

async def kernel():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in Jupyter, and not as asyncio.run has it
    await cell()

asyncio.run(kernel())
print(offramp.pareto().stop_reason)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] in (["Interrupted True", "interrupted"], ["Interrupted False", "interrupted"]), (
        done.stdout + done.stderr
    )
    assert presses == 2 or done.stdout.startswith("Interrupted True")


# --------------------------------------------------------------------------------------------------- what is shown


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shown")
    return finished_job(folder)


def test_results_are_one_line(study):
    for text in (repr(study), repr(study.report)):
        assert text.startswith("<") and "\n" not in text and len(text) < 400
        assert study.report.study in text and study.report.recommended.candidate in text
    assert "calls" in repr(study) and repr(study.report).startswith("<StudyReport")


def test_other_results_are_one_line_and_tables_too(tmp_path):
    finished_job(tmp_path, trials=3)
    study = offramp.pareto(results=tmp_path)
    other = next(m.candidate for m in study.members if not m.incumbent)
    compared = offramp.compare("latest", other, results=tmp_path)
    frame = compared.to_frame()
    assert len(frame) == len(compared.pairs) and {"example", "gain", "a_score", "b_score"} <= set(frame.columns)
    promoted = offramp.promote(results=tmp_path, promotions=tmp_path / "p", force=True, why="a test")
    checked = offramp.check(
        "landscape", promotions=tmp_path / "p", space=tmp_path / "space.yaml", transport=transport(), progress=False
    )
    watched = offramp.watch(promotions=tmp_path / "p", results=tmp_path)
    expected = offramp.dry_run(tmp_path / "space.yaml", results=tmp_path)
    for result, word in (
        (compared, other), (promoted, promoted.promotion.version), (checked, "holds"), (watched, "models within"),
        (expected, "candidates"),
    ):  # fmt: skip
        assert repr(result).startswith(f"<{type(result).__name__} ") and word in repr(result)
        assert "\n" not in repr(result) and len(repr(result)) < 400
    assert len(watched.to_frame()) == len(watched.rows) > 0


def test_a_notebook_shows_front_verdict_and_plot(study):
    text = study._repr_html_()
    for member in study.report.front:
        assert member.candidate in text
    assert study.report.headline() in text.replace("&#x27;", "'") and "<svg" in text and "recommended" in text
    assert "<script" not in text and "http" not in text


def test_a_name_with_markup_is_shown_and_not_obeyed(study):
    from dataclasses import replace

    named = replace(study.report, study="<img src=x onerror=alert(1)>\x1b[31m")
    assert "<img" not in named._repr_html_() and "\x1b" not in named._repr_html_() and "\x1b" not in repr(named)


def test_a_study_without_candidates_is_shown_too(study):
    from dataclasses import replace

    empty = replace(study.report, members=(), front=(), recommended=None, incumbent=None, trials=0)
    assert "No candidate" in empty._repr_html_() and "0 candidates" in repr(empty) and empty.to_frame().empty


def test_a_frame_has_the_columns_of_the_csv_and_a_row_for_each_candidate(study, capsys):
    frame = study.to_frame()
    assert list(frame["candidate"]) == [member.candidate for member in study.report.members]
    assert frame["on_front"].sum() == len(study.report.front) and frame["recommended"].sum() == 1
    assert len(study.to_frame(everything=False)) == len(study.report.front)
    import io

    from offramp.cli.study_tables import write_csv

    written = io.StringIO()
    write_csv(written, study.report, everything=True)
    heads = written.getvalue().splitlines()[0].split(",")
    assert [name for name in frame.columns if name != "on_front"] == heads
    assert frame["param.model"].isin(["small", "large"]).all() and frame["quality"].between(0, 1).all()


# -------------------------------------------------------------------------------------------------------- progress


def test_progress_is_silent_without_a_terminal_unless_asked_for(tmp_path, capfd):
    space = write_space(tmp_path)
    offramp.optimize(space, trials=2, transport=transport(), results=tmp_path / "a")
    assert capfd.readouterr() == ("", "")
    offramp.optimize(space, trials=2, transport=transport(), results=tmp_path / "b", progress=True)
    assert "trials" in capfd.readouterr().err


def test_an_observer_sees_every_example_beside_the_bar(tmp_path):
    seen = []
    offramp.optimize(
        write_space(tmp_path), trials=2, transport=transport(), results=tmp_path / "r", observer=seen.append
    )
    assert len(seen) >= 20 and seen[-1].trials_wanted == 2
