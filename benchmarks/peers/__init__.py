"""The peers that the benchmarks compare with: each in a module of its own, which only this package imports."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

MISSING = "not installed: pip install 'infinitic[bench]'"
PACKAGES = {"durabletask": "durabletask", "dbos": "dbos", "temporal": "temporalio"}


def find(name: str) -> ModuleType | None:
    """The module of a peer, None when it is not installed."""
    try:
        return import_module(f"benchmarks.peers.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != PACKAGES[name]:
            raise
        return None


def label(name: str) -> str:
    """The peer's name on the package index, and its version when it is installed."""
    package = PACKAGES[name]
    return package if find(name) is None else f"{package} {version(package)}"
