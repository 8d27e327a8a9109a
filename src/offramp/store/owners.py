"""Which process holds something, and whether it still lives.

A process id is used again after its process died, so an owner also carries a token: machine boot, process-id namespace
and start time of the process. Where another machine or container cannot be looked into, its owner counts as alive: a
reservation that is kept too long costs room under a cap, one that is dropped too early breaks the cap.
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One process on one host. `token` is `boot|namespace|start`, each part empty where unknown."""

    host: str
    pid: int
    token: str


def current_owner() -> Owner:
    """This process."""
    return _owner(os.getpid())


@lru_cache(maxsize=1)
def _owner(pid: int) -> Owner:
    """The owner that a process is for as long as it lives; one that was forked is another."""
    return Owner(host=socket.gethostname(), pid=pid, token=f"{_boot()}|{_namespace()}|{_started(pid)}")


def owner_alive(owner: Owner) -> bool:
    """Whether the process lives, or may live where that cannot be seen from here."""
    me = current_owner()
    if owner.host != me.host:
        return True
    boot, namespace, start = [*owner.token.split("|"), "", ""][:3]
    if boot and _boot() and boot != _boot():
        return False
    if namespace != _namespace():
        return True
    return _pid_exists(owner.pid) and (not start or start == _started(owner.pid))


def _pid_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] in ("Z", "X")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat after the command, which may itself hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str:
    fields = _stat(pid)
    if len(fields) > 19:
        return fields[19]
    try:
        done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().replace("|", "")


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
