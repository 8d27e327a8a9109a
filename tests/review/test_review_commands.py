"""`offramp report` and `offramp review` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import offramp
from offramp.cli.main import main
from offramp.errors import StorageError, UsageError
from offramp.review.live_page import Options, serve

pytest.importorskip("uvicorn", reason="the extra web is not installed")
Study = tuple[Path, str]


def test_report_says_where_the_file_is(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, name = study
    out = tmp_path / "new" / "r.html"
    assert main(["report", name[:12], "--results", str(folder), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"path": str(out), "bytes": out.stat().st_size}
    assert not list(out.parent.glob("*.tmp"))


def test_report_is_a_function_of_the_package_too(study: Study, tmp_path: Path) -> None:
    assert offramp.report(results=study[0], out=tmp_path / "r.html") == tmp_path / "r.html"


def test_an_unknown_study_and_wrong_weights_are_messages(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nothing-like-it", "--results", str(study[0])]) == 2
    assert main(["report", study[1], "--results", str(study[0]), "--weights", "taste=1"]) == 2
    assert "no such study" in (err := capsys.readouterr().err) and "unknown objective" in err


def test_review_serves_the_study_until_ctrl_c(study: Study, tmp_path: Path) -> None:
    folder, name = study
    command = [
        sys.executable,
        "-m",
        "offramp.cli.main",
        "review",
        name,
        "--port",
        "0",
        "--json",
        "--results",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            address = json.loads(process.stdout.readline())["url"]
            assert address.startswith("http://127.0.0.1:") and f"/studies/{name}?token=" in address
            assert httpx.get(address.partition("?")[0], timeout=None).status_code == 401
            with httpx.Client(follow_redirects=True, timeout=None) as client:
                reply = client.get(address)
            assert reply.status_code == 200 and name in reply.text
        finally:
            os.kill(process.pid, signal.SIGINT)
            out, err = process.communicate()
    assert process.returncode == 0 and "Traceback" not in err and out == ""


def test_whoever_is_told_the_address_can_connect_at_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that read the address and asked was refused: the socket was bound, and nobody listened yet."""
    import socket
    from urllib.parse import urlsplit

    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)

    def connect(address: str) -> None:
        port = urlsplit(address).port
        assert port is not None
        socket.create_connection(("127.0.0.1", port)).close()

    serve(Options(port=0, results=study[0]), announce=connect)


def test_there_is_always_a_token_on_loopback_too(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    told: list[str] = []
    for host, token in (("127.0.0.1", None), ("0.0.0.0", None), ("0.0.0.0", "a-long-enough-token")):
        serve(Options(host=host, port=0, token=token, results=study[0]), announce=told.append)
    tokens = [address.partition("?token=")[2] for address in told]
    assert len(tokens[0]) >= 32 and len(tokens[1]) >= 32 and tokens[0] != tokens[1]
    assert told[2].endswith("?token=a-long-enough-token")


def test_a_short_token_and_a_port_in_use_are_messages(study: Study) -> None:
    with pytest.raises(UsageError, match="too short"):
        serve(Options(token="short", results=study[0]), announce=print)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="cannot be listened on"):
            serve(Options(port=port, results=study[0]), announce=print)


def test_a_study_that_is_not_there_is_a_message_and_no_page_of_nothing(study: Study) -> None:
    """The address of a page that says "no such study" was announced, and served until somebody looked."""
    told: list[str] = []
    with pytest.raises(StorageError, match="no such study"):
        serve(Options(study="nothing-like-it", port=0, results=study[0]), announce=told.append)
    assert told == []
