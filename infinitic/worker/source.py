"""Source: the text of a line, and whose code a file holds: Python's, a package's, this library's or the user's."""

from __future__ import annotations

import linecache
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import dsl

Whose: TypeAlias = Literal["python", "package", "ours", "user"]

PYTHON = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
PACKAGES = ("/site-packages/", "/dist-packages/")
OURS = tuple(f"{path}/" for path in (Path(__file__).parents[1], Path(dsl.__file__).parent))


def source_line(file: str, line: int) -> str:
    """The text of a line without its indentation; "" when it cannot be read."""
    return linecache.getline(file, line).strip()


@lru_cache(4096)
def whose(file: str) -> Whose:
    """Whose code *file* holds. What was made at run time (`<string>`, `<attrs generated …>`) counts as Python's."""
    if file.startswith("<"):
        return "python"
    if file.startswith(OURS):
        return "ours"
    if any(part in file for part in PACKAGES):
        return "package"
    return "python" if file.startswith(PYTHON) else "user"
