"""Studies in MLflow, Weights & Biases and Langfuse: the real packages of build/peers, with what they write on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import offramp
from offramp.cli.main import main
from offramp.errors import UsageError
from offramp.records import CallRequest
from offramp.space.load import load_space
from offramp.testing.fakes import FunctionTransport
from offramp.tracking import missing_tool, track, tracked
from search_jobs import finished_job, reply_to, write_space

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "build" / "peers" / "venv"
BEFORE = """
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
sys.path.append(sys.argv[2])
import offramp
from offramp.testing.fakes import FunctionTransport
from search_jobs import reply_to, write_space
from pathlib import Path

def job(tracking, trials):
    space = write_space(Path(), tracking=tracking)
    return offramp.optimize(space, trials=trials, transport=FunctionTransport(reply_to))

"""


def run(code: str, package: str, tmp_path: Path, **environment: str) -> list:
    """What the code prints as JSON, with the package and this process's packages."""
    found = list(PEERS.glob(f"lib/python3*/site-packages/{package}"))
    if not found:
        pytest.skip(f"{package} is not installed: make peers")
    more = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "WANDB_MODE": "offline", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", BEFORE + code, json.dumps(sys.path), str(found[0].parent)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **more, **environment}
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "did not take" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


MLFLOW = """
study = job("mlflow", 3)
job("mlflow", 4)
offramp.verify(probe=0, transport=FunctionTransport(reply_to))
from mlflow import MlflowClient
client = MlflowClient()
experiment = client.get_experiment_by_name("landscape")
runs = client.search_runs([experiment.experiment_id])
found = offramp.pareto()
print(json.dumps([
    [{"name": r.info.run_name, "status": r.info.status, "params": r.data.params, "metrics": r.data.metrics,
      "tags": {k: v for k, v in r.data.tags.items() if k.startswith("offramp") or k == "mlflow.parentRunId"},
      "id": r.info.run_id} for r in runs],
    found.study, [m.candidate for m in found.members], [m.candidate for m in found.front],
    {m.candidate: m.quality for m in found.members}, len(found.to_frame().query("holdout_quality >= 0")),
]))
"""


def test_mlflow_has_a_run_for_the_study_and_one_below_it_for_each_candidate(tmp_path: Path) -> None:
    runs, study, members, front, quality, verified = run(
        MLFLOW, "mlflow", tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db"
    )
    (whole,) = [one for one in runs if one["name"] == study]
    candidates = {one["name"]: one for one in runs if one["name"] != study}
    assert sorted(candidates) == sorted(members) and len(runs) == len(members) + 1, "a second run adds no copies"
    assert whole["tags"]["offramp.headline"] and whole["tags"]["offramp.show"].startswith(f"offramp report {study}")
    for name, one in candidates.items():
        assert one["status"] == "FINISHED" and one["tags"]["mlflow.parentRunId"] == whole["id"]
        assert one["metrics"]["quality"] == quality[name] and one["params"]["model"] in ("small", "large")
        assert one["tags"]["offramp.on_front"] == str(name in front).lower()
        assert one["tags"]["offramp.study"] == study
    held = [one for one in candidates.values() if "holdout_quality" in one["metrics"]]
    assert len(held) == verified >= 2
    assert "Vague." not in json.dumps(runs) and "case 0" not in json.dumps(runs), "no text of a prompt"


WANDB = """
study = job("wandb", 2)
import glob
import wandb
from wandb.proto import wandb_internal_pb2
wandb.teardown()  # its process writes the last records

def records(data):
    # a LevelDB log after a header of 7 bytes: checksum (4), length (2), type (1) of each part, in blocks of 32768
    at, whole = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(data[at + 4:at + 6], "little"), data[at + 6]
        if kind == 0:
            return
        whole += data[at + 7:at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""

found = []
for path in sorted(glob.glob("wandb/offline-run-*/*.wandb")):
    one = {"config": {}, "metrics": {}}
    for data in records(Path(path).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "run":
            one |= {"project": record.run.project, "group": record.run.run_group, "name": record.run.display_name,
                    "tags": list(record.run.tags), "notes": record.run.notes}
        updates = [*record.run.config.update, *record.config.update]
        one["config"] |= {u.key or ".".join(u.nested_key): json.loads(u.value_json) for u in updates}
        items = [*record.history.item, *record.summary.update]
        one["metrics"] |= {i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items}
    found.append(one)
print(json.dumps([found, study.report.study, [m.candidate for m in study.report.members],
                  study.report.recommended.candidate]))
"""


def test_wandb_has_a_run_for_each_candidate_in_a_group_for_the_study(tmp_path: Path) -> None:
    runs, study, members, best = run(WANDB, "wandb", tmp_path)
    assert sorted(one["name"] for one in runs) == sorted(members)
    for one in runs:
        assert (one["project"], one["group"]) == ("landscape", study) and study in one["notes"]
        assert one["config"]["model"] in ("small", "large") and one["config"]["offramp.study"] == study
        assert 0 <= one["metrics"]["quality"] <= 1 and one["metrics"]["cost_usd"] > 0
        assert ("recommended" in one["tags"]) == (one["name"] == best)


LANGFUSE = """
import gzip, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
spans, scores, keys = [], [], set()

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        data = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data
        keys.add(self.headers["Authorization"])
        answer, kind = b"{}", "application/json"
        if self.path.endswith("/traces"):
            sent = ExportTraceServiceRequest.FromString(data)
            for each in (s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans):
                spans.append({"name": each.name, "trace": each.trace_id.hex(),
                              **{a.key: a.value.string_value or [v.string_value for v in a.value.array_value.values]
                                 for a in each.attributes}})
            answer, kind = b"", "application/x-protobuf"
        else:
            batch = json.loads(data)
            scores.extend(batch)
            answer = json.dumps({"accepted": len(batch), "rejected": 0, "errors": []}).encode()
        self.send_response(207 if kind.endswith("json") else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["LANGFUSE_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
study = job("langfuse", 2)
print(json.dumps([spans, scores, sorted(keys), study.report.study, {m.candidate: m.quality for m in study.report.members}]))
"""


def test_langfuse_has_a_trace_for_each_candidate_with_its_metrics_as_scores(tmp_path: Path) -> None:
    keys = {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"}
    spans, scores, used, study, quality = run(LANGFUSE, "langfuse", tmp_path, **keys)
    assert sorted(span["name"] for span in spans) == sorted(quality) and len(used) == 1
    for span in spans:
        assert span["session.id"] == study and study in json.dumps(span)
        assert "small" in json.dumps(span) or "large" in json.dumps(span)
        of = {score["name"]: score["value"] for score in scores if score["traceId"] == span["trace"]}
        assert of["quality"] == quality[span["name"]] and of["cost_usd"] > 0
    assert len({score["id"] for score in scores}) == len(scores)


# ------------------------------------------------------------------------------------------------ without the tools


def test_the_name_of_a_study_does_not_depend_on_where_it_is_tracked(tmp_path: Path) -> None:
    plain = finished_job(tmp_path / "a", trials=2)
    tracked_one = finished_job(tmp_path / "b", trials=2, tracking="none")
    assert plain.report.study == tracked_one.report.study
    text = (tmp_path / "b" / "space.yaml").read_text().replace("tracking: none", "tracking: mlflow")
    (tmp_path / "b" / "space.yaml").write_text(text)
    assert load_space(tmp_path / "b" / "space.yaml").space.tracking == "mlflow"


@pytest.mark.parametrize("tool", ["mlflow", "wandb", "langfuse"])
def test_a_tool_that_is_not_installed_is_said_before_anything_is_spent(tool: str, tmp_path: Path, monkeypatch) -> None:
    asked: list[CallRequest] = []

    def reply(request: CallRequest):
        asked.append(request)
        return reply_to(request)

    monkeypatch.setattr("offramp.tracking.find_spec", lambda _: None)
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    space = write_space(tmp_path, tracking=tool)
    with pytest.raises(UsageError, match=rf"space\.yaml:\d+: tracking: .*pip install 'offramp\[{tool}\]'"):
        offramp.optimize(space, transport=FunctionTransport(reply), results=tmp_path / "results")
    assert asked == [] and not (tmp_path / "results").exists()
    assert any(tool in text for text in offramp.check_space(space).warnings), "a check on another machine may lack it"


def test_langfuse_without_its_keys_is_said_too(monkeypatch) -> None:
    monkeypatch.setattr("offramp.tracking.find_spec", lambda _: object())
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.delenv("LANGFUSE_SECRET_KEY", raising=False)
    found = missing_tool("langfuse")
    assert found is not None and "LANGFUSE_SECRET_KEY not set" in found.what and "PUBLIC" not in found.what


@pytest.mark.parametrize("error", [OSError("connection refused"), RuntimeError("bad token"), ImportError("no wandb")])
def test_a_tool_that_fails_is_a_warning_and_the_study_stays(error, tmp_path: Path, monkeypatch, caplog) -> None:
    def fails(_name: str):
        raise error

    study = finished_job(tmp_path, trials=2)
    monkeypatch.setattr("offramp.tracking.import_module", fails)
    track("wandb", study.report, "sqlite:///x.db")
    assert f"wandb did not take the study {study.report.study}" in caplog.text and str(error) in caplog.text


@pytest.mark.parametrize("tool", ["mlfow", "tensorboard", "yes"])
def test_an_unknown_tool_is_refused_with_those_that_there_are(tool: str, tmp_path: Path, capsys) -> None:
    assert main(["space", "check", str(write_space(tmp_path, tracking=tool))]) == 2
    said = capsys.readouterr().err
    assert "tracking" in said and "mlflow" in said


def test_what_is_tracked_has_no_password_and_no_key(tmp_path: Path, monkeypatch) -> None:
    study = finished_job(tmp_path, trials=2)
    found = tracked(study.report, "postgresql://me:secret-word@host/db")
    assert "secret-word" not in json.dumps([dict(found.tags), [dict(one.params) for one in found.candidates]])
    assert found.tags["offramp.storage"] == "postgresql://me:***@host/db"
    assert [one.candidate for one in found.candidates] == [member.candidate for member in study.report.members]
    assert sum(one.tags["recommended"] for one in found.candidates) == 1
