"""Local servers: one start for many callers, a short leash, no secrets. A stand-in for llama.cpp first, then it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from offramp.errors import JobError, ModelError, OfframpError
from offramp.models import embedded, server
from offramp.models.catalogue import resolve
from offramp.models.gguf_files import EMBEDDED
from offramp.models.server import LocalServers, ServeOptions, clean_environment, start_child
from offramp.records import Model

MODELS = [Model(name=name, route=name, context_tokens=512) for name in ("local/a", "local/b", "local/c")]
posix = pytest.mark.skipif(sys.platform == "win32", reason="llama.cpp's wheels are not built for Windows")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name has a file."""
    monkeypatch.setattr(embedded, "path", lambda name: tmp_path / f"{name.split('/')[1]}.gguf")


@pytest.fixture
def servers(fake_llama: Path, files: None) -> LocalServers:
    return LocalServers(max_loaded=2)


def has_exited(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"


@posix
def test_callers_that_ask_at_once_share_one_server(servers: LocalServers) -> None:
    async def ask() -> set[str]:
        async with servers:
            urls = set(await asyncio.gather(*[servers.url(MODELS[0]) for _ in range(8)]))
            assert list(servers.pids) == ["local/a"]
            return urls

    assert len(asyncio.run(ask())) == 1
    assert servers.pids == {}


@posix
def test_closing_ends_every_server(servers: LocalServers) -> None:
    with servers:
        for model in MODELS[:2]:
            servers.start(model)
        pids = list(servers.pids.values())
    assert len(pids) == 2 and all(map(has_exited, pids))


@posix
def test_the_server_unused_for_longest_makes_room(servers: LocalServers) -> None:
    with servers:
        first = servers.start(MODELS[0])
        servers.start(MODELS[1])
        assert asyncio.run(servers.url(MODELS[0])) == first
        servers.start(MODELS[2])
        assert list(servers.pids) == ["local/a", "local/c"]


@posix
def test_a_server_that_died_is_started_again_once(servers: LocalServers) -> None:
    with servers:
        kill_and_wait(servers, servers.start(MODELS[0]))
        second = asyncio.run(servers.url(MODELS[0]))
        kill_and_wait(servers, second)
        with pytest.raises(JobError, match="its server died twice"):
            servers.start(MODELS[0])


def kill_and_wait(servers: LocalServers, url: str) -> None:
    process = servers._children["local/a"]._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@posix
def test_a_server_that_does_not_start_shows_its_last_words(fake_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"local/x: its server did not start .*tensor data is cut off.*cannot load"):
        start_child("local/x", tmp_path / "broken.gguf", ServeOptions(), "k" * 40, 30)


@posix
def test_a_server_that_is_never_ready_is_killed(
    fake_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    real = subprocess.Popen
    monkeypatch.setattr(server.subprocess, "Popen", lambda *a, **k: started.append((p := real(*a, **k)).pid) or p)
    with pytest.raises(ModelError, match=r"not ready within 0\.2 s"):
        start_child("local/x", tmp_path / "slow.gguf", ServeOptions(), "k" * 40, 0.2)
    assert has_exited(started[0])


@posix
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_no_secret_reaches_the_server_and_its_key_is_in_no_argument(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:secret-value@host/db")
    with servers:
        servers.start(MODELS[0])
        place = Path(f"/proc/{servers.pids['local/a']}")
        shown = (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
    key = servers.headers(MODELS[0])["Authorization"].split()[1]
    assert b"secret-value" not in shown and key.encode() not in shown
    assert b"--context-tokens=512" in shown


def test_the_clean_environment_keeps_what_runs_and_drops_what_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "LLAMA_API_KEY", "PGPASSWORD", "OFFRAMP_STORAGE", "DATABASE_URL"):
        monkeypatch.setenv(name, "x")
        assert name not in clean_environment()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert {"PATH", "CUDA_VISIBLE_DEVICES"} <= set(clean_environment())


@posix
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "300"}, {"GOMP_SPINCOUNT": "300"}),
    ],
)
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: dict[str, str]
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with servers:
        servers.start(MODELS[0])
        environment = Path(f"/proc/{servers.pids['local/a']}/environ").read_bytes().decode().split("\0")
    assert {line for line in environment if line.startswith(names)} == {f"{k}={v}" for k, v in found.items()}


def test_only_local_models_get_the_key(servers: LocalServers) -> None:
    assert servers.headers(Model(name="gpt", route="openai/gpt")) == {}
    assert LocalServers().headers(MODELS[0]) != servers.headers(MODELS[0])


def test_without_llama_cpp_the_message_says_what_to_install(files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install 'offramp\[local\]'"):
        LocalServers().start(MODELS[0])


def test_a_missing_file_says_how_to_pull_it() -> None:
    with pytest.raises(ModelError, match="offramp models pull local/smollm2-135m"):
        LocalServers().start(resolve("local/smollm2-135m", "f"))


@posix
def test_a_forked_process_neither_uses_nor_ends_its_parents_servers(
    servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers:
        url = servers.start(MODELS[0])
        with monkeypatch.context() as patch:
            patch.setattr(server.os, "getpid", lambda: -1)
            with pytest.raises(OfframpError, match="make one in each process"):
                servers.start(MODELS[0])
            servers.stop()
        assert servers.start(MODELS[0]) == url


PARENT = """
    import os, sys
    from pathlib import Path
    from offramp.models.server import ServeOptions, start_child

    started = start_child("local/x", Path(sys.argv[1]), ServeOptions(threads=1), "k" * 40, 60)
    print(started.pid, started.url, flush=True)
    sys.stdin.read()
"""


def pid_of_orphan(path: Path) -> int:
    """Start a parent that starts a server, kill -9 the parent, return the server's pid."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(path)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline().split()[0])
    assert not has_exited(pid)
    parent.kill()
    parent.communicate()
    return pid


def wait_until_exited(pid: int) -> None:
    while not has_exited(pid):
        time.sleep(0.05)


@posix
def test_a_server_ends_when_its_parent_is_killed(fake_llama: Path, tmp_path: Path) -> None:
    wait_until_exited(pid_of_orphan(tmp_path / "x.gguf"))


# ------------------------------------------------------------------------------------------- for real


@posix
def test_a_real_model_answers_the_same_twice_and_nobody_without_the_key(smollm2: str) -> None:
    model = resolve(smollm2, "f")
    body = {
        "messages": [{"role": "user", "content": "Say hi."}],
        "temperature": 0,
        "max_tokens": 8,
        "grammar": 'root ::= "hi" | "hello"',
    }
    with LocalServers() as servers:
        url = servers.start(model) + "/v1/chat/completions"
        replies = [httpx.post(url, json=body, headers=servers.headers(model), timeout=None).json() for _ in range(2)]
        stranger = httpx.post(url, json=body, timeout=None)
    texts = [reply["choices"][0]["message"]["content"] for reply in replies]
    assert texts[0] == texts[1] and texts[0] in {"hi", "hello"}
    assert replies[0]["usage"]["prompt_tokens"] > 5 and replies[0]["model"] == smollm2
    assert stranger.status_code == 401


@posix
def test_a_real_prompt_longer_than_the_context_is_refused_by_the_server(smollm2: str) -> None:
    model = replace(resolve(smollm2, "f"), context_tokens=256)
    body = {"messages": [{"role": "user", "content": "word " * 400}], "max_tokens": 4}
    with LocalServers() as servers:
        url = servers.start(model) + "/v1/chat/completions"
        reply = httpx.post(url, json=body, headers=servers.headers(model), timeout=None)
    assert reply.status_code == 400 and reply.json()["error"]["type"] == "exceed_context_size_error"


@posix
def test_a_real_server_ends_when_its_parent_is_killed(smollm2: str) -> None:
    wait_until_exited(pid_of_orphan(embedded.path(smollm2)))


def test_the_real_file_is_the_pinned_one(smollm2: str) -> None:
    assert embedded.verify(smollm2).stat().st_size == EMBEDDED[0].bytes
