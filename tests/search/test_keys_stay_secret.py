"""A server that echoes the key it was sent: nothing that a job leaves behind or shows has it in any form."""

import base64
import itertools
import json
import threading

import pytest

from offramp.testing.server import ScriptedServer, ServerReply
from search_jobs import PRICES, answered_by, main, server_reply, write_space

KEYS = ("hunter2-hunter2", "Pa/ss+w=rd\"Q'&x", "s3cret!")


def forms(key):
    return {key, json.dumps(key)[1:-1], base64.b64encode(key.encode()).decode()[:-4]}


class Echo:
    """Says the key in every third answer, and in errors between them; the key itself is what the header has."""

    def __init__(self, key):
        self.key, self._count, self._lock = key, itertools.count(), threading.Lock()

    def __call__(self, body):
        with self._lock:
            n = next(self._count)
        said = f"your key {self.key}, Basic {base64.b64encode(f'user:{self.key}'.encode()).decode()}"
        if n % 3 == 0:
            return ServerReply(status=500, text=f"{said} is over its limit, {json.dumps({'Authorization': self.key})}")
        if n % 3 == 1:
            right = server_reply(body)
            return ServerReply(text=f"{right.text} {said}", usage=right.usage, extra={"model": f"m-{self.key}"})
        return server_reply(body)


@pytest.fixture(params=KEYS)
def job(request, tmp_path, monkeypatch, caplog, capfd):
    """A finished job with such a server: the key, its folder, and all that it printed and logged."""
    key = request.param
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOUSE_PASS", key)
    answered_by(monkeypatch, None)
    with ScriptedServer(Echo(key)) as server:
        models = [
            {
                "name": name,
                "route": f"openai/{name}",
                "api_base": server.url,
                "api_key_env": "HOUSE_PASS",
                "price": price,
            }
            for name, price in PRICES.items()
        ]
        space = write_space(
            tmp_path / "job", models=models, splits={"train": 2, "search": 6, "holdout": 4},
            search={"sampler": "random", "trials": 3, "concurrency": 2},
            dataset={"path": "rows.jsonl", "id": "id"},
        )  # fmt: skip
        assert main(["optimize", str(space)]) == 0
        assert all(request.headers["authorization"] == f"Bearer {key}" for request in server.requests)
        name = next((tmp_path / "results").glob("landscape-*.json")).stem
        compare = ["compare", name, "trial 1", "incumbent", "--split", "search"]
        for args in (["pareto", "--json"], ["report", name], compare, [*compare, "--csv"]):
            assert main(args) == 0
        assert main(["promote", name, "--force", "--why", f"a test of {key}"]) == 0
    shown = capfd.readouterr()
    return key, tmp_path, shown.out + shown.err + caplog.text


def test_neither_storage_nor_files_nor_output_hold_the_key(job):
    key, folder, shown = job
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"offramp.db"} <= {path.name for path in files}
    held = {
        path.name: form
        for path in files
        for form in forms(key)
        if form.encode() in path.read_bytes().replace(b"\\\\", b"\\")
    }
    assert held == {}
    assert not [form for form in forms(key) if form in shown]
    stored = next(path for path in files if path.name == "offramp.db").read_bytes()
    assert b"your key ***" in stored
