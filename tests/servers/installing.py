"""How what is missing comes onto the machine: as Debian's packages where we are root, else into a cache of our own."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import ServerTrouble, new_folder, program, ran

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this file whether a freshly installed service may start."""


def install(packages: Iterable[str]) -> None:
    """Debian's *packages* onto this machine; their services are not started. Raises `ServerTrouble`."""
    names = sorted(set(packages))
    if not program("apt-get"):
        raise ServerTrouble(f"Install what Debian calls {', '.join(names)}.")
    if os.geteuid() != 0:
        raise ServerTrouble(f"Root may install it: sudo apt-get install {' '.join(names)}")
    apt = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with locked("apt"), no_service_starts():
        ran(*apt, "update", to_the_end=True)
        ran(*apt, "--yes", "--no-install-recommends", "install", *names, to_the_end=True, env=quiet)


@contextmanager
def no_service_starts() -> Iterator[None]:
    if POLICY.exists():  # somebody has decided
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def cache_folder() -> Path:
    """What is fetched once and stays: the next start needs no network."""
    folder = Path(os.environ.get("SERVERS_CACHE") or Path.home() / ".cache" / "infinitic-servers")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(target: Path, make: Callable[[Path], None]) -> None:
    """Makes *target*, a folder of the cache: whole or not at all, and once, whoever else wants it too."""
    with locked(target.name):
        if target.exists():
            return
        half = new_folder("half-", cache_folder())
        try:
            make(half / target.name)
            (half / target.name).rename(target)
        finally:
            shutil.rmtree(half)


@contextmanager
def locked(name: str) -> Iterator[None]:
    with (cache_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
