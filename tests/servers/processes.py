"""What is borrowed from the machine: programs, ports, folders, and processes that must not outlive who started them."""

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

REAPER = Path(__file__).with_name("reaper.py")
ONE_AT_A_TIME = threading.Lock()


class ServerTrouble(Exception):
    """A server cannot be had or did not start; its text says why and what would help."""


def program(name: str, *folders: Path) -> str:
    """Where a program is, "" when it is nowhere. Users do not always have the folders of daemons in their PATH."""
    places = [*map(str, folders), os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


def spoken_version(*command: str) -> str:
    said = ran(*command, "--version").decode()
    found = re.search(r"(?:v=|Ver |\) )(\d[\d.]*\d)", said)
    return found[1] if found else said.strip()


def ran(*command: str | Path, given: bytes = b"", to_the_end: bool = False, **options: Any) -> bytes:
    """What *command* printed, having read what was *given*. Raises `ServerTrouble` with what it said when it fails.

    It ends with this process, unless half of it done would be worse: *to_the_end*.
    """
    pipe = subprocess.PIPE
    with begun(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, **options) as process:
        if to_the_end:
            spared(process.pid)
        said: bytes = process.communicate(given)[0]
        spared(process.pid)
    if process.returncode:
        raise ServerTrouble(f"{' '.join(map(str, command[:5]))} … ended with {process.returncode}:\n{tail(said)}")
    return said


def begun(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
    """*command* as a process that this one's end will kill; a terminal's Ctrl-C is not for it."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    left_behind(f"kill {process.pid}")
    return process


def tail(said: bytes) -> str:
    """The end of it, and after that what it called an error before: some programs end with a page of advice."""
    lines = said.decode(errors="replace").splitlines()
    return "\n".join(lines[-20:] + [line for line in lines[:-20] if "error" in line.lower()][-10:])


def free_port() -> int:
    """A port of loopback that nobody listens on, and that nobody else gets from here while this process lives.

    It lies below those that clients are given: whoever calls again and again where nobody listens could otherwise be
    given that very port, and be connected to itself.
    """
    for port in random.sample(range(20_000, 32_000), 1_000):
        # An abstract name is the process's as long as it lives, and leaves no file.
        with socket.socket(socket.AF_UNIX) as claim, socket.socket() as probe:
            try:
                claim.bind(f"\0infinitic-servers-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            claim.detach()
            return port
    raise ServerTrouble("no port between 20000 and 32000 is free")


def new_folder(prefix: str, within: Path | None = None, user: str | None = None) -> Path:
    """An empty folder that *user* may write. Should this process end without removing it, it is removed then."""
    folder = Path(tempfile.mkdtemp(prefix=prefix if within else f"infinitic-{prefix}", dir=within))
    left_behind(f"remove {folder}")
    folder.chmod(0o755)  # what is inside may be another user's
    if user:
        shutil.chown(folder, user, user)
    return folder


def left_behind(order: str) -> None:
    """What is to be done once this process has ended, however it does: "kill PID" or "remove FOLDER"."""
    with ONE_AT_A_TIME:
        os.write(_reaper(), f"{order}\n".encode())


def spared(pid: int) -> None:
    """Takes "kill PID" back."""
    left_behind(f"spare {pid}")


@cache
def _reaper() -> int:
    """Where the reaper listens. It learns of this process's end by the end of the pipe."""
    listens, speaks = os.pipe()
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    command = [sys.executable, "-I", "-S", str(REAPER)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, listens, 0), *silent])
    os.close(listens)
    return speaks
