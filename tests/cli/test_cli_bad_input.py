"""What bad input gets from `offramp optimize`: one message, exit code 2, nothing written, nothing spent.

`tests/space` holds what can be wrong in a space file alone; here are data, metrics, models, storage and disk.
"""

import json
import multiprocessing
import resource
import signal

import pytest

from offramp.models import embedded, gguf_files
from offramp.testing.fakes import FunctionTransport
from search_jobs import LABELS, answered_by, command_line, essence, main, reply_to, rows, run_job, write_space

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def transport(monkeypatch):
    transport = FunctionTransport(reply_to)
    answered_by(monkeypatch, transport)
    return transport


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys, transport):
    """Run the job; its one message, after all else that has to hold was checked."""
    monkeypatch.chdir(tmp_path)

    def runner(*args):
        before = tree(tmp_path)
        code = main(["optimize", "job/space.yaml", *map(str, args)])
        shown = capsys.readouterr()
        message = shown.err.removeprefix("offramp: preparing job/space.yaml\n")
        assert code == 2, shown.err
        assert shown.out == "" and message.startswith("error: ") and "Traceback" not in message
        assert tree(tmp_path) == before, "something was written"
        assert transport.requests == [], "something was spent"
        return message.removeprefix("error: ").rstrip("\n")

    return runner


def tree(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if "__pycache__" not in path.parts}


def job(tmp_path, **changes):
    return write_space(tmp_path / "job", **changes)


def data(tmp_path, examples):
    (tmp_path / "job" / "rows.jsonl").write_text("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in examples))


# ---------------------------------------------------------------------------------------------------- the space file


def test_a_yaml_error_has_its_line(tmp_path, refused):
    path = job(tmp_path)
    lines = path.read_text().splitlines()
    lines[4] = "  broken: [1, 2"
    path.write_text("\n".join(lines))
    assert refused().startswith("job/space.yaml:5: not YAML")


def test_an_unknown_key_names_the_nearest(tmp_path, refused):
    job(tmp_path, search=None, serach={"trials": 3})
    assert "serach" in refused() and "Did you mean 'search'?" in refused()


def test_a_space_file_that_is_no_utf8_says_where(tmp_path, refused):
    path = job(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"Vague.", b"Vag\xfce."))
    assert "UTF-8" in refused() and "job/space.yaml" in refused()


def test_a_space_file_that_is_not_there_names_what_is(tmp_path, refused, capsys):
    job(tmp_path).rename(tmp_path / "job" / "spaces.yaml")
    message = refused()
    assert "no such file" in message and "spaces.yaml" in message


@pytest.mark.parametrize("args", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("column", "form", "words"),
    [
        ("demos", "predict", "task: the name of an input: got 'demos', expected another name than DSPy's own"),
        ("_secret", "predict", "task: DSPy refuses a field among"),
        ("instructions", "predict", "task: DSPy refuses a field among"),
        ("reasoning", ["predict", "chain_of_thought"], "chain_of_thought adds a text output 'reasoning'"),
    ],
)
def test_a_field_that_dspy_cannot_have_is_refused_before_anything_is_written(
    tmp_path, refused, column, form, words, args
):
    outputs = {"label": {"type": "enum", "values": [*LABELS]}}
    task = {"signature": {"inputs": {column: None}, "outputs": outputs}}
    job(tmp_path, task=task, dataset={"path": "rows.jsonl", "id": "id", "fields": {column: "message"}},
        program={"form": form})  # fmt: skip
    message = refused(*args)
    assert message.startswith("job/space.yaml:3: ") and words in message


# --------------------------------------------------------------------------------------------------------- the data


def test_a_number_of_thousands_of_digits_has_its_line(tmp_path, refused):
    job(tmp_path)
    (tmp_path / "job" / "rows.jsonl").write_text('{"id": 1, "message": ' + "9" * 5000 + ', "label": "billing"}\n')
    assert "rows.jsonl:1: the number 9999" in refused() and "has 5000 digits, expected at most 300" in refused()


def test_a_row_without_the_field_has_its_number(tmp_path, refused):
    job(tmp_path)
    examples = rows()
    del examples[16]["label"]
    data(tmp_path, examples)
    assert "rows.jsonl:17: " in refused() and "'label'" in refused()


def test_data_that_is_no_utf8_has_its_line(tmp_path, refused):
    job(tmp_path)
    path = tmp_path / "job" / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b"case 004", b"case \xff004"))
    assert "rows.jsonl" in refused() and "UTF-8" in refused()


def test_a_dataset_that_is_not_there_names_what_is_near(tmp_path, refused):
    job(tmp_path, dataset={"path": "row.jsonl", "id": "id"})
    assert "Did you mean 'rows.jsonl'?" in refused()


def test_an_empty_dataset_is_refused(tmp_path, refused):
    job(tmp_path)
    data(tmp_path, [])
    assert "rows.jsonl" in refused() and "has no rows" in refused()


@pytest.mark.parametrize(
    ("splits", "word"),
    [
        ({"train": 6, "search": 1, "holdout": 6}, "search"),
        ({"train": 6, "search": 10, "holdout": 1}, "holdout"),
        ({"train": 6, "search": 0, "holdout": 6}, "search"),
        ({"train": 30, "search": 30, "holdout": 30}, "splits"),
    ],
)
def test_a_split_that_is_too_small_is_named(tmp_path, refused, splits, word):
    job(tmp_path, splits=splits)
    assert word in refused()


def test_a_label_that_the_task_does_not_know_has_its_row_and_the_nearest(tmp_path, refused):
    job(tmp_path)
    examples = rows()
    examples[7]["label"] = "biling"
    data(tmp_path, examples)
    assert "rows.jsonl:8" in refused() and "Did you mean 'billing'?" in refused()


def test_a_label_that_no_example_has_is_a_warning_that_names_it(tmp_path, capsys):
    outputs = {"label": {"type": "enum", "values": [*LABELS, "warranty"]}}
    job(tmp_path, task={"signature": {"inputs": {"message": None}, "outputs": outputs}})
    assert main(["space", "check", str(tmp_path / "job" / "space.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "warning" in shown and "'warranty'" in shown


@pytest.mark.parametrize("bad", ["", "  ", None, 1.5, True, "a\0b"])
def test_an_id_that_is_none_has_its_row(tmp_path, refused, bad):
    job(tmp_path)
    data(tmp_path, [*rows()[:30], {**rows()[30], "id": bad}])
    message = refused()
    assert message.startswith("rows.jsonl:31: the id 'id': got ") and "without NUL, or a whole number." in message


def test_an_id_that_no_storage_keeps_has_its_row(tmp_path, refused):
    job(tmp_path)
    data(tmp_path, [*rows()[:12], *({**row, "id": "é" * 256} for row in rows()[12:13]), *rows()[13:22]])
    message = refused()
    assert "rows.jsonl: row 13: characters of the id: got 256, expected at most 255" in message


def test_all_names_that_no_storage_can_keep_are_reported(tmp_path, refused):
    long = "x" * 256
    named = {"name": long, "api_base": "http://127.0.0.1:9/v1"}
    job(tmp_path, models=[named], instructions={long: "Vague."}, incumbent=None, params={long: 1})
    lines = refused().splitlines()
    assert len(lines) == 3 and all("has 256 characters: expected at most 255" in line for line in lines)
    assert all(len(line) < 400 for line in lines)


@pytest.mark.parametrize("path", ["x" * 300 + ".jsonl", "../job"])
def test_a_dataset_that_no_disk_can_hold_is_one_message(tmp_path, refused, path):
    job(tmp_path, dataset={"path": path})
    assert ("too long" if "x" in path else "is a folder") in refused()


# -------------------------------------------------------------------------------------------------------- the search


@pytest.mark.parametrize("args", [[], ["--dry-run"]])
@pytest.mark.parametrize("block", [10, 500])
def test_a_first_block_of_all_examples_is_refused_since_nobody_would_be_stopped(tmp_path, refused, block, args):
    job(tmp_path, search={"race": {"block": block}})
    message = refused(*args)
    assert f"search.race.block: got {block}, expected less than 10, the size of the search split." in message
    assert "`race: null`" in message


# -------------------------------------------------------------------------------------------------------- the metric


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return 'good'", ["'good'"]),
        ("return float('nan')", ["nan"]),
        ("return None", ["None"]),
        ("return 7", ["7", "[0, 1]"]),
        ("return example['nothing']", ["the row has no 'nothing'", "it has"]),
        ("return 1 / 0", ["ZeroDivisionError"]),
        ("raise SystemExit", ["SystemExit"]),
    ],
)
def test_a_metric_that_returns_no_score_is_found_before_the_first_call(tmp_path, refused, body, words):
    job(tmp_path, metric={"kind": "python", "path": "own.py:score"})
    (tmp_path / "job" / "own.py").write_text(f"def score(example, prediction):\n    {body}\n")
    message = refused()
    assert "own.py" in message and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("own.py:scroe", ["scroe", "Did you mean 'score'?"]),
        ("onw.py:score", ["onw.py", "own.py"]),
        ("broken.py:score", ["broken.py", "SyntaxError"]),
        ("needs.py:score", ["needs.py", "no_such_package_at_all"]),
        ("no_module_here:score", ["no_module_here"]),
    ],
)
def test_a_metric_that_does_not_import_says_why(tmp_path, refused, path, words):
    job(tmp_path, metric={"kind": "python", "path": path})
    (tmp_path / "job" / "own.py").write_text("def score(example, prediction):\n    return 1.0\n")
    (tmp_path / "job" / "broken.py").write_text("def score(:\n")
    (tmp_path / "job" / "needs.py").write_text("import no_such_package_at_all\n")
    message = refused()
    assert all(word in message for word in words), message


# --------------------------------------------------------------------------------------------------------- the models


def models(*names):
    """A space whose models are these; the first is the incumbent."""
    first = names[0] if isinstance(names[0], str) else names[0]["name"]
    return {"models": [*names], "incumbent": {"model": first, "instruction": "vague"}}


def test_an_unknown_model_names_the_nearest(tmp_path, refused):
    job(tmp_path, **models("openai/gpt-4.1-mimi"))
    assert "'openai/gpt-4.1-mini'" in refused()


def test_a_model_without_a_price_is_refused_until_one_is_stated(tmp_path, refused):
    mine = {"name": "mine", "route": "openai/mine", "api_base": "http://127.0.0.1:9/v1"}
    job(tmp_path, **models(mine))
    message = refused()
    assert "'mine'" in message and "price" in message and "objectives.cost" in message


def test_a_missing_key_is_named_and_so_is_what_to_do(tmp_path, refused):
    job(tmp_path, **models("openai/gpt-4.1-mini"))
    assert "export OPENAI_API_KEY=..." in refused()


def test_an_embedded_model_that_was_not_pulled_says_how(tmp_path, refused, monkeypatch):
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    job(tmp_path, **models("local/smollm2-135m"))
    assert "offramp models pull local/smollm2-135m" in refused()


def test_a_model_file_whose_hash_is_wrong_is_refused_before_anything_is_written(tmp_path, refused, monkeypatch):
    tiny = gguf_files.EmbeddedModel(
        name="local/tiny", file="tiny.gguf", sha256="0" * 64, bytes=5, licence="none", context_tokens=512, parts=(),
        hub=gguf_files.HubFile(repo="nobody/tiny", file="tiny.gguf"),
    )  # fmt: skip
    monkeypatch.setitem(gguf_files.BY_NAME, tiny.name, tiny)
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    place = embedded.file(tiny.name)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"wrong")
    job(tmp_path, **models("local/tiny"))
    message = refused()
    assert "is not the file it should be" in message and "offramp models pull local/tiny" in message


# -------------------------------------------------------------------------------------------- storage, results, disk


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hush@127.0.0.1:9/none", ["refused the connection"]),
        ("postgersql://me:hush@127.0.0.1:9/none", ["postgresql"]),
        ("sqlite:////proc/none/offramp.db", ["/proc/none"]),
        ("sqlite:///job/rows.jsonl", ["is not a database"]),
        ("not a url", ["not a URL", "sqlite:///"]),
    ],
)
def test_a_storage_that_does_not_answer_is_one_message_without_its_password(tmp_path, refused, url, words):
    job(tmp_path)
    message = refused("--storage", url)
    assert all(word in message for word in words), message
    assert "hush" not in message


def test_results_that_cannot_be_written_are_refused(tmp_path, refused):
    job(tmp_path)
    message = refused("--results", "/dev/full")
    assert "/dev/full" in message


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--trials", 0, "--trials: got 0, expected a number above 0"),
        ("--budget-usd", -1, "--budget-usd"),
        ("--budget-usd", "nan", "--budget-usd"),
        ("--minutes", "inf", "--minutes: got inf, expected a finite number above 0"),
        ("--concurrency", 5000, "at most 1024"),
        ("--seed", -3, "--seed"),
    ],
)
def test_an_option_out_of_range_is_named(tmp_path, refused, option, value, words):
    job(tmp_path)
    assert words in refused(option, value)


def limited_job(space, folder, room, out):
    """A job whose process may write no file beyond `room` bytes, as on a disk with so much left."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    command_line(["optimize", str(space), "--results", str(folder), "--json"], out)


@pytest.mark.parametrize("room", [0, 65_536, 160_000, 220_000])
def test_a_full_disk_is_one_message_and_a_job_goes_on_when_there_is_room(tmp_path, monkeypatch, room):
    answered_by(monkeypatch, FunctionTransport(reply_to))
    space, folder, out = (
        job(tmp_path, splits={"train": 2, "search": 5, "holdout": 2}),
        tmp_path / "results",
        tmp_path / "out",
    )
    out.touch(), out.with_suffix(".err").touch()
    process = FORK.Process(target=limited_job, args=(space, folder, room, out))
    process.start()
    process.join()
    told = out.with_suffix(".err").read_text() if room else ""
    assert process.exitcode in (1, 2), told
    assert "Traceback" not in told
    if room:
        assert "full" in told or "cannot be written" in told, told
    whole = run_job(space, tmp_path / "whole")
    assert essence(run_job(space, folder)) == essence(whole)


def test_more_demos_than_the_train_split_has_are_refused_also_where_it_is_a_share(tmp_path, refused):
    job(
        tmp_path,
        splits={"train": 0.3, "search": 0.4, "holdout": 0.3},
        demos={"kind": ["none", "random"], "count": [2, 30]},
    )
    assert "demos.count: got 30, expected at most 12, the size of the train split" in refused()


def test_a_misspelt_parameter_names_the_nearest_that_the_models_take(tmp_path, refused):
    job(tmp_path, **models("openai/gpt-4.1-mini"), params={"max_token": 8})
    assert "Did you mean 'max_tokens'" in refused()


def test_a_signature_that_cannot_be_read_is_what_the_message_is_about(tmp_path, refused):
    job(tmp_path, task={"signature": "message => label"}, demos={"kind": ["none", "balanced"], "count": 2})
    assert "signature" in refused() and "balance" not in refused()
