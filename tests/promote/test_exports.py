"""Exports in the tools they are for: the real LiteLLM, DSPy, MLflow, Langfuse and promptfoo."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
import yaml

import offramp
from offramp.cli.main import main
from offramp.errors import UsageError
from offramp.promote import promoting
from offramp.promote.exports.exporting import FORMS, export, source_of
from offramp.promote.exports.nunjucks import pieces
from offramp.promote.exports.promptfoo_assertions import assertions
from offramp.promote.promotion import MessagePart, MessageTemplate, PromotedModel
from offramp.promote.promotion_store import PromotionStore
from offramp.promote.serialization import yaml_text
from offramp.records import CallReply, CallRequest, Example, Model, Usage
from offramp.space.model import ExactMetric, JudgeMetric
from offramp.testing.fakes import FunctionTransport
from offramp.testing.server import ScriptedServer, ServerReply
from promoted_jobs import holdout_inputs, promoted_job, reply, right_answer
from promotion_records import make_promotion

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers"
NEAREST = {"demos": "nearest", "demo_count": 2}
TEXT = "The parcel of case 031\nhas 'not' come."


def exported(promotions: Path, to: str, feature: str = "landscape") -> str:
    return export(source_of(feature, promotions=promotions), to).text


def stored(folder: Path, **changes: Any) -> Path:
    """A promotion that no study stands behind."""
    PromotionStore(folder, "triage").promote(make_promotion(**changes), [], label="production")
    return folder


def answer(body: dict[str, Any]) -> ServerReply:
    """A server that answers as the study's model did."""
    messages = tuple({"role": m["role"], "content": m["content"]} for m in body["messages"])
    return ServerReply(text=right_answer(CallRequest(model=Model(name="m", route="m"), messages=messages, params={})))


def test_every_form_is_offered_by_the_command() -> None:
    from offramp.cli.export import export as command

    (to,) = (param for param in command.params if param.name == "to")
    assert tuple(to.type.choices) == tuple(FORMS)


def test_the_openai_payload_is_what_was_measured_with_places_for_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, format="chat", demos="random", demo_count=2)
    assert main(["export", "landscape", "--to", "openai", "--promotions", str(promotions)]) == 0
    text = capsys.readouterr().out
    filled = json.loads(text.replace("{{message}}", json.dumps(TEXT)[1:-1]))
    written = offramp.load_messages("landscape", {"message": TEXT}, promotions=promotions)
    assert filled == {**written.payload(), "model": "small"}


def test_an_entry_for_the_litellm_proxy_is_taken_by_litellm_and_sends_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from offramp.models.capabilities import quiet_litellm

    promotions = promoted_job(tmp_path, monkeypatch)
    promoting.promote(
        "latest", pick="incumbent", fallbacks=["large"], results=tmp_path / "results", promotions=promotions
    )
    config = yaml.safe_load(exported(promotions, "litellm"))
    assert config["router_settings"] == {"fallbacks": [{"landscape": ["landscape-fallback-1"]}]}
    with ScriptedServer(lambda body: replace(answer(body), status=500 if body["model"] == "small" else 200)) as server:
        monkeypatch.setenv("OFFRAMP_API_BASE", server.url)
        monkeypatch.setenv("OFFRAMP_API_KEY", "unused")
        monkeypatch.setenv("OFFRAMP_API_BASE_FALLBACK_1", server.url)
        monkeypatch.setenv("OFFRAMP_API_KEY_FALLBACK_1", "unused")
        litellm = quiet_litellm()
        router = litellm.Router(model_list=config["model_list"], num_retries=0, **config["router_settings"])
        written = offramp.load_messages("landscape", {"message": "case 031"}, promotions=promotions)
        found = router.completion(model="landscape", messages=written.messages)
    assert found.choices[0].message.content == "shipping"
    bodies = [request.body for request in server.requests]
    assert [body["model"] for body in bodies][-1] == "large"
    assert all(body["messages"] == written.messages for body in bodies)
    assert all((body["temperature"], body["max_tokens"]) == (0.5, 16) for body in bodies)


def test_a_fallback_in_the_proxys_config_has_no_numbers_of_the_model_and_a_server_of_its_own(tmp_path: Path) -> None:
    fallbacks = (PromotedModel(name="haiku", route="anthropic/claude-haiku"),
                 PromotedModel(name="ours", route="openai/ours", own_address=True))  # fmt: skip
    model = PromotedModel(name="main", route="openai/main", own_address=True)
    file = export(source_of("triage", promotions=stored(tmp_path, model=model, fallbacks=fallbacks)), "litellm")
    main_entry, haiku, ours = yaml.safe_load(file.text)["model_list"]
    assert {"holdout_quality", "holdout_n", "offramp_candidate"} <= main_entry["model_info"].keys()
    for entry in (haiku, ours):
        assert entry["model_info"].keys() == {"offramp_version", "offramp_study", "fallback_of"}
        assert entry["model_info"]["fallback_of"] == "triage"
    assert main_entry["litellm_params"]["api_base"] == "os.environ/OFFRAMP_API_BASE"
    assert haiku["litellm_params"]["api_key"] == "os.environ/ANTHROPIC_API_KEY"
    assert ours["litellm_params"]["api_base"] == "os.environ/OFFRAMP_API_BASE_FALLBACK_2"
    assert ours["litellm_params"]["api_key"] == "os.environ/OFFRAMP_API_KEY_FALLBACK_2"
    notes = " ".join(file.notes)
    assert "main: the proxy reads the address of its server from OFFRAMP_API_BASE and" in notes
    assert "ours: the proxy reads the address of its server from OFFRAMP_API_BASE_FALLBACK_2 and" in notes


def test_a_vendors_model_gets_its_own_key_and_no_address(tmp_path: Path) -> None:
    model = PromotedModel(name="haiku", route="anthropic/claude-haiku")
    entry = yaml.safe_load(exported(stored(tmp_path, model=model), "litellm", "triage"))["model_list"][0]
    assert entry["litellm_params"] == {
        "model": "anthropic/claude-haiku", "temperature": 0.0, "api_key": "os.environ/ANTHROPIC_API_KEY",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["predict", "chain_of_thought"])
def test_dspy_loads_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    promotions = promoted_job(tmp_path, monkeypatch, form=form, demos="bootstrapped", demo_count=2)
    path = tmp_path / "state.json"
    assert main(["export", "landscape", "--to", "dspy", "--promotions", str(promotions), "--out", str(path)]) == 0
    make = dspy.ChainOfThought if form == "chain_of_thought" else dspy.Predict
    module = make("message -> label")
    module.load(path)
    [(_, predictor)] = module.named_predictors()
    [(_, measured)] = offramp.load(
        "landscape", promotions=promotions, transport=FunctionTransport(reply), api_base="http://127.0.0.1:9/v1"
    ).named_predictors()
    assert predictor.signature.instructions == measured.signature.instructions
    assert [dict(demo) for demo in predictor.demos] == [dict(demo) for demo in measured.demos]


def test_the_json_holds_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json.loads(exported(promoted_job(tmp_path, monkeypatch, **NEAREST), "json"))
    assert values["evidence"]["holdout"]["n"] == 6 and len(values["pool"]) == 6


@pytest.mark.parametrize("to", ["openai", "mlflow", "langfuse", "dspy"])
def test_what_a_form_cannot_say_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    promotions = promoted_job(tmp_path / "job", monkeypatch, **NEAREST)
    with pytest.raises(UsageError, match="chosen by the input"):
        exported(promotions, to)


@pytest.mark.parametrize("to", ["openai", "mlflow", "langfuse"])
def test_braces_that_a_template_would_take_for_a_place_are_refused(tmp_path: Path, to: str) -> None:
    base = make_promotion()
    assert base.rendering is not None
    braces = MessageTemplate(role="system", content=(MessagePart(text="Say {{name}}."),))
    rendering = replace(base.rendering, messages=(braces, *base.rendering.messages[1:]))
    with pytest.raises(UsageError, match="double braces"):
        exported(stored(tmp_path, rendering=rendering), to, "triage")


# ------------------------------------------------------------------------------------- tools of their own


def peer_python() -> Path:
    python = PEERS / "venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("MLflow and Langfuse are not installed: make peers")
    return python


def run_python(code: str, *arguments: str, cwd: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONPATH": str(ROOT / "src"),
                   "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}  # fmt: skip
    command = [str(peer_python()), "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


MLFLOW = """
import json, sys
from offramp.cli.main import main
promotions, uri, inputs = sys.argv[1:]
code = main(["export", "landscape", "--to", "mlflow", "--promotions", promotions, "--register", uri, "--out", "p.json"])
assert code == 0, code
import mlflow
again = mlflow.genai.register_prompt(**json.load(open("p.json")))
prompt = mlflow.genai.load_prompt("prompts:/landscape@production")
print(json.dumps([prompt.version, again.version, prompt.format(**json.loads(inputs)), dict(prompt.tags)]))
"""


def test_mlflow_registers_the_prompt_in_a_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer_python()
    promotions = promoted_job(tmp_path, monkeypatch, format="chat", demos="random", demo_count=2)
    out = run_python(
        MLFLOW, str(promotions), f"sqlite:///{tmp_path / 'mlflow.db'}", json.dumps({"message": TEXT}), cwd=tmp_path
    )
    version, again, messages, tags = json.loads(out.splitlines()[-1])
    written = offramp.load_messages("landscape", {"message": TEXT}, promotions=promotions)
    assert (version, again) == (1, 2)
    assert messages == written.messages
    assert tags["offramp_version"] == written.version and json.loads(tags["params"]) == written.params


LANGFUSE = """
import json, sys
from langfuse.api import CreateChatPromptRequest, Prompt_Chat
from langfuse.model import ChatPromptClient
body = json.load(open(sys.argv[1]))
made = CreateChatPromptRequest.model_validate(body)
kept = Prompt_Chat(type="chat", name=made.name, version=1, prompt=made.prompt, config=made.config, labels=made.labels, tags=made.tags)
compiled = ChatPromptClient(kept).compile(**json.loads(sys.argv[2]))
print(json.dumps([[{"role": m["role"], "content": m["content"]} for m in compiled], made.config, made.labels]))
"""


def test_langfuse_takes_the_prompt_and_compiles_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer_python()
    promotions = promoted_job(tmp_path, monkeypatch, demos="balanced", demo_count=3)
    path = tmp_path / "prompt.json"
    path.write_text(exported(promotions, "langfuse"))
    messages, config, labels = json.loads(run_python(LANGFUSE, str(path), json.dumps({"message": TEXT}), cwd=tmp_path))
    written = offramp.load_messages("landscape", {"message": TEXT}, promotions=promotions)
    assert messages == written.messages and labels == ["production"]
    assert config["model"] == "openai/small" and config["temperature"] == 0.5


def promptfoo_command() -> list[str]:
    entry = PEERS / "node" / "node_modules" / "promptfoo" / "dist" / "src" / "entrypoint.js"
    node = shutil.which("node")
    if node is None or not entry.exists():
        pytest.skip("promptfoo is not installed: make peers")
    return [node, str(entry)]


def promptfoo(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    quiet = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "PROMPTFOO_CONFIG_DIR": str(folder / "pf"),
             "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1", "HOME": str(folder), "PATH": os.environ["PATH"], "NO_COLOR": "1"}  # fmt: skip
    command = [*promptfoo_command(), *arguments]
    return subprocess.run(
        command, cwd=folder, env={**quiet, **environment}, capture_output=True, text=True, check=False
    )


AWKWARD = [
    {"id": f"e{i:03}", "message": f"case {i:03} {text}", "label": ("billing", "shipping", "returns")[i % 3]}
    for i, text in enumerate(["", "{{x}} and {% y %}", 'a "b" \\ c', "two\n\nlines", "caf\u00e9 \u2028", "<b>&amp;</b>", "{# z #}"] * 6)
]  # fmt: skip


@pytest.mark.parametrize(
    "case",
    [{"demos": "balanced", "demo_count": 3}, {"format": "chat"}, {"format": "json", **NEAREST}],
    ids=["plain", "chat", "json-nearest"],
)
def test_promptfoo_sends_the_holdout_as_it_was_measured_and_grades_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]
) -> None:
    promptfoo_command()
    monkeypatch.setattr("search_jobs.rows", lambda count=40: AWKWARD)
    promotions = promoted_job(tmp_path, monkeypatch, **case)
    command = [
        "export",
        "landscape",
        "--to",
        "promptfoo",
        "--promotions",
        str(promotions),
        "--out",
        str(tmp_path / "c.yaml"),
    ]
    assert main(command) == 0
    with ScriptedServer(answer) as server:
        environment = {"OFFRAMP_API_BASE": server.url, "OFFRAMP_API_KEY": "unused"}
        done = promptfoo(tmp_path, "eval", "-c", "c.yaml", "--no-cache", "-o", "out.json", "-j", "1", **environment)
    assert (tmp_path / "out.json").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert results["stats"]["successes"] == 6, json.dumps(results["results"][0], indent=1)[:3000]
    monkeypatch.setattr("promoted_jobs.rows", lambda: AWKWARD)
    inputs = holdout_inputs(tmp_path)
    expected = [offramp.load_messages("landscape", values, promotions=promotions) for values in inputs]
    sent = [request.body for request in server.requests]
    by_input = {body["messages"][-1]["content"]: body["messages"] for body in sent}
    assert by_input == {each.messages[-1]["content"]: each.messages for each in expected}
    for body in sent:
        assert {name: body[name] for name in expected[0].params} == expected[0].params
        assert set(body) <= {"model", "messages", *expected[0].params}


def test_promptfoo_fails_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promptfoo_command()
    promotions = promoted_job(tmp_path, monkeypatch)
    (tmp_path / "c.yaml").write_text(exported(promotions, "promptfoo"))
    with ScriptedServer([ServerReply(text="no idea")]) as server:
        environment = {"OFFRAMP_API_BASE": server.url, "OFFRAMP_API_KEY": "unused"}
        done = promptfoo(tmp_path, "eval", "-c", "c.yaml", "--no-cache", "-o", "out.json", **environment)
    assert done.returncode == 100
    assert "Configuration is valid" in promptfoo(tmp_path, "validate", "-c", "c.yaml", **environment).stdout
    assert json.loads((tmp_path / "out.json").read_text())["results"]["stats"]["failures"] == 6


# ------------------------------------------------------------------------- texts that a tool would interpret

HOSTILE = [
    "{{7*7}}x", "{% for i in [1,2] %}a{% endfor %}", "{# gone #}b", "{{ env.HOME }}", "{{env['PATH']}}", "file://a/b",
    "file:///etc/hostname", "package:evil:run", "python:print(1)", "javascript:process.exit(1)", "{% raw %}{{x}}{% endraw %}",
    "{{sent.m1}}", "1e3", "0o17", "0x1F", "!!js/function 'x'", "*alias", "&anchor a", "${HOME} `id` $(id)", "os.environ/HOME",
    "a'b\"c\\d", "</script>", "<<: *x", "null", "{{{{a}}}}", "{ {a} }", "- x: y", "{{ range.constructor('return 1')() }}",
    "exec: id", "true", "[[1]]", "{\"$ref\": \"#/x\"}",
]  # fmt: skip


def hostile_rows() -> list[dict[str, Any]]:
    """Rows whose text and gold are what a tool would interpret."""
    return [
        {"id": f"{text[:8]} {i}", "message": f"{text} case {i:03} {text}", "label": text, "bare": text}
        for i, text in enumerate(HOSTILE)
    ]


def hostile_reply(format_: str) -> Any:
    """What a right model answers: the gold of the row that the request is about."""

    def text_of(messages: Any) -> str:
        number = int(re.findall(r"case (\d+)", messages[-1]["content"])[-1])
        label = HOSTILE[number]
        if format_ == "json":
            return json.dumps({"label": label})
        return f"[[ ## label ## ]]\n{label}\n\n[[ ## completed ## ]]" if format_ == "chat" else label

    return text_of


HOSTILE_METRICS: dict[str, dict[str, Any]] = {
    "exact": {"kind": "exact", "field": "label"},
    "contains": {"kind": "contains", "field": "label", "values_from": "bare"},
    "named": {"kind": "mix", "parts": [
        {"kind": "exact", "field": "label", "name": "{{7*7}} {{ env.HOME }}", "weight": 1},
        {"kind": "regex", "field": "label", "name": "file://a", "pattern": "(?i)[{}A-Z0-9]", "weight": 1},
        {"kind": "regex", "field": "label", "name": "{# n #}", "pattern": r"{{y|\{%never%\}|file://zz", "found": False, "weight": 1},
    ]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("format_", "metric"), [("plain", "exact"), ("chat", "contains"), ("json", "exact"), ("plain", "named")]
)
def test_promptfoo_neither_fills_in_nor_reads_what_is_in_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str, metric: str
) -> None:
    promptfoo_command()
    text_of = hostile_reply(format_)

    def reply_to(request: CallRequest) -> CallReply:
        usage = Usage(input_tokens=50, output_tokens=3)
        return CallReply(text=text_of(request.messages), finish_reason="stop", usage=usage, latency_s=0.2)

    monkeypatch.setattr("promoted_jobs.reply", reply_to)
    monkeypatch.setattr("search_jobs.rows", lambda count=40: hostile_rows())
    space = {
        "task": {"signature": {"inputs": {"message": None}, "outputs": {"label": {"type": "str"}}}},
        "metric": HOSTILE_METRICS[metric],
        "splits": {"train": 2, "search": 4, "holdout": len(HOSTILE) - 6},
        "instructions": {"vague": "file://x {{7*7}} {% raw %}{{ env.HOME }} {# a #} {% endraw %} {{ sent.m1 }}"},
    }
    promotions = promoted_job(tmp_path, monkeypatch, space=space, format=format_)
    assert main(["export", "landscape", "--to", "promptfoo", "--promotions", str(promotions), "--out", str(tmp_path / "c.yaml")]) == 0  # fmt: skip
    with ScriptedServer(lambda body: ServerReply(text=text_of(body["messages"]))) as server:
        environment = {"OFFRAMP_API_BASE": server.url, "OFFRAMP_API_KEY": "unused"}
        done = promptfoo(tmp_path, "eval", "-c", "c.yaml", "--no-cache", "-o", "out.json", "-j", "1", **environment)
    assert (tmp_path / "out.json").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    failed = [each for each in results["results"] if not each["success"]]
    assert results["stats"]["successes"] == len(HOSTILE) - 6, json.dumps(failed[:1], indent=1)[:4000]
    with sqlite3.connect(tmp_path / "results" / "offramp.db") as db:
        ids = {row[0] for row in db.execute("select example from offramp_results where split = 'holdout'")}
    inputs = [{"message": row["message"]} for row in hostile_rows() if row["id"] in ids]
    expected = [offramp.load_messages("landscape", values, promotions=promotions).messages for values in inputs]
    assert {json.dumps(request.body["messages"]) for request in server.requests} == {json.dumps(m) for m in expected}


RUBRICS = [f"Is it polite? {text}" for text in HOSTILE] + [f"{text} Is it polite?" for text in HOSTILE]


def test_promptfoos_grader_gets_the_rubric_as_it_is(tmp_path: Path) -> None:
    promptfoo_command()
    made = [assertions(JudgeMetric(kind="judge", model="m", rubric=text), make_promotion())[0][0] for text in RUBRICS]
    row = Example(id="e", content_hash="", values={}, row=0)
    grader = {
        "id": "openai:chat:grader",
        "config": {"apiBaseUrl": "{{env.OFFRAMP_API_BASE}}", "apiKeyEnvar": "OFFRAMP_API_KEY"},
    }
    config = {
        "prompts": ["x"], "providers": ["echo"], "defaultTest": {"options": {"provider": grader}},
        "tests": [{"vars": {"n": f"t{i}"}, "assert": [one(row)]} for i, one in enumerate(made)],
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml_text(config))
    with ScriptedServer([ServerReply(text='{"pass": true, "score": 1, "reason": "ok"}')]) as server:
        environment = {"OFFRAMP_API_BASE": server.url, "OFFRAMP_API_KEY": "unused"}
        done = promptfoo(tmp_path, "eval", "-c", "c.yaml", "--no-cache", "-o", "out.json", "-j", "1", **environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    asked = [json.dumps(request.body["messages"], ensure_ascii=False) for request in server.requests]
    for rubric in RUBRICS:
        assert any(json.dumps(f"<Rubric>\n{rubric}\n</Rubric>", ensure_ascii=False)[1:-1] in text for text in asked), (
            rubric
        )


PARAMS = [
    ("promptfoo", {"stop": ["{{ env.HOME }}"]}, "env"),
    ("promptfoo", {"stop": ["file://x"]}, "file://"),
    ("promptfoo", {"response_format": {"type": "json_schema", "schema": {"$ref": "#/$defs/x"}}}, "ref"),
    ("litellm", {"stop": ["os.environ/HOME"]}, "os.environ"),
    ("litellm", {"user": "os.environ/HOME"}, "os.environ"),
]


@pytest.mark.parametrize(("to", "params", "said"), PARAMS)
def test_parameters_that_a_tool_would_fill_in_are_refused(
    tmp_path: Path, to: str, params: dict[str, Any], said: str
) -> None:
    base = make_promotion()
    assert base.rendering is not None
    promotions = stored(tmp_path, rendering=replace(base.rendering, params=params))
    with pytest.raises(UsageError, match=said):
        exported(promotions, to, "triage")


@pytest.mark.parametrize(
    ("to", "before"),
    [("mlflow", "{% if x %}"), ("mlflow", "{%"), ("langfuse", "a {"), ("openai", "{"), ("mlflow", "{")],
)
def test_texts_that_a_template_would_read_with_the_input_are_refused(tmp_path: Path, to: str, before: str) -> None:
    base = make_promotion()
    assert base.rendering is not None
    mixed = MessageTemplate(role="user", content=(MessagePart(text=before), MessagePart(input="message")))
    promotions = stored(tmp_path, rendering=replace(base.rendering, messages=(mixed,)))
    with pytest.raises(UsageError, match=r"tag|brace"):
        exported(promotions, to, "triage")


RIGHT = [
    ({"type": "enum", "values": ["theft", "late"]}, "theft", ["theft", "Theft.", "«theft»", "**THEFT**", "theft\n\nIt was stolen."], ["late", "not theft", ""]),
    ({"type": "enum", "values": ["{{7*7}}x", "b"]}, "{{7*7}}x", ["{{7*7}}x", "{{7*7}}X."], ["49x", "b", "7*7x"]),
    ({"type": "bool"}, True, ["true", "Yes.", "True"], ["false", "no", "maybe"]),
    ({"type": "int"}, 1234, ["1234", "1,234", "$1,234."], ["1235", "none"]),
    ({"type": "str"}, "a  b {{x}}", ["A b {{x}}", "a b {{x}}"], ["a b", "a b x"]),
    ({"type": "list[str]"}, ["file://a", "{{b}}"], ['["file://a", "{{b}}"]', '```json\n["file://a","{{b}}"]\n```'], ['["b"]', "x"]),
    ({"type": "object", "fields": {"a": {"type": "int"}}}, {"a": 1}, ['{"a": 1}', '{"a": 1.0}'], ['{"a": 2}', "{}"]),
]  # fmt: skip


def test_promptfoo_passes_right_answers_and_fails_wrong_ones(tmp_path: Path) -> None:
    """An echo as the model: each test's prompt is the answer."""
    promptfoo_command()
    tests, expected = [], []
    for output, gold, right, wrong in RIGHT:
        program = replace(make_promotion().program, outputs={"label": output})
        [one], _ = assertions(ExactMetric(kind="exact", field="label"), make_promotion(program=program))
        row = Example(id="e", content_hash="", values={"label": gold}, row=0)
        for answer_, passes in [*((text, True) for text in right), *((text, False) for text in wrong)]:
            tests.append({"vars": {"sent": {"m0": pieces(answer_)}}, "assert": [one(row)]})
            expected.append((answer_, passes))
    config = {"prompts": [{"label": "p", "raw": "{{ sent.m0 | join }}"}], "providers": ["echo"], "tests": tests}
    (tmp_path / "c.yaml").write_text(yaml_text(config))
    promptfoo(tmp_path, "eval", "-c", "c.yaml", "--no-cache", "-o", "out.json", "-j", "1")
    results = json.loads((tmp_path / "out.json").read_text())["results"]["results"]
    found = {each["testIdx"]: each["success"] for each in results}
    assert [(text, found[i]) for i, (text, _) in enumerate(expected)] == expected
