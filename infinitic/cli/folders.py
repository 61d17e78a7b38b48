"""Folders: which of their files a worker can serve, told without running them, and what of them has changed.

A file is served when it imports infinitic, or a file that is served. Tests are left out, and so are scripts: files
that start a worker or a client as soon as they are imported.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

LIBRARY = frozenset({"infinitic", "dsl"})
RUNNERS = frozenset({"Worker", "Client", "AsyncClient"})
SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist", "site-packages"})
TESTS = ("test_", "conftest.")

State: TypeAlias = dict[str, tuple[int, int]]
"""When each file was changed last, and its size."""


@frozen
class Served:
    """The files of a folder that are to be served, and the scripts that were left out."""

    files: tuple[str, ...]
    scripts: tuple[str, ...] = ()


def python_files(folder: Path) -> Iterator[Path]:
    """All Python files beneath, in order; not those of hidden folders, packages and virtual environments."""
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if _is_own(Path(path, one)))
        yield from (Path(path, one) for one in sorted(files) if one.endswith(".py"))


def _is_own(folder: Path) -> bool:
    return not folder.name.startswith(".") and folder.name not in SKIPPED and not (folder / "pyvenv.cfg").exists()


def state(folders: Iterable[Path]) -> State:
    """How the Python files beneath these folders stand."""
    found: State = {}
    for path in (path for folder in folders for path in python_files(folder)):
        try:
            stat = path.stat()
        except OSError:  # gone meanwhile
            continue
        found[str(path)] = (stat.st_mtime_ns, stat.st_size)
    return found


def changed(before: State, now: State) -> list[str]:
    """The files that are new, gone or otherwise, in order."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def served(folder: Path) -> Served:
    """What of a folder can be served. A file that cannot be read as Python is: importing it says what is wrong."""
    trees = {path: _tree(path) for path in python_files(folder) if not path.name.startswith(TESTS)}
    imports = {path: set(_imports(tree, path, folder)) for path, tree in trees.items()}
    kept = {path for path, names in imports.items() if trees[path] is None or names & LIBRARY}
    while more := {path for path in trees if path not in kept and imports[path] & _names(kept, folder)}:
        kept |= more
    scripts = {path for path in kept if _runs(trees[path])}
    return Served(*(tuple(str(path) for path in sorted(paths)) for paths in (kept - scripts, scripts)))


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _names(paths: Iterable[Path], folder: Path) -> set[str]:
    """How others may import these files: by their path in the folder, or by their own name."""
    parts = [path.relative_to(folder).with_suffix("").parts for path in paths]
    return {".".join(one[begin:]) for one in parts for begin in range(len(one))}


def _imports(tree: ast.Module | None, path: Path, folder: Path) -> Iterator[str]:
    """The names of all modules that a file imports, each with what it might import from there."""
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, path, folder)
            yield from (base, base.partition(".")[0])
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)


def _base(node: ast.ImportFrom, path: Path, folder: Path) -> str:
    if not node.level:
        return node.module or ""
    parts: Sequence[str] = path.relative_to(folder).parts[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _runs(tree: ast.Module | None) -> bool:
    """Whether importing the file would run a worker or a client: outside of functions and of `if __name__ == …`."""
    body = tree.body if tree is not None else []
    statements = [node for node in body if not _is_guarded(node)]
    made = {name for node in statements for name in _made(node)} | RUNNERS
    functions = {one.name: one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    runs: set[str] = set()
    while more := {name for name, one in functions.items() if name not in runs and _uses([one], made, runs)}:
        runs |= more
    return _uses(statements, made, runs)


def _uses(statements: Sequence[ast.stmt], made: set[str], runs: set[str]) -> bool:
    """Whether these enter one of the workers and clients *made*, call a method of it, or a function that *runs* one."""
    nodes = [one for node in statements for one in ast.walk(node)]
    entered = [item.context_expr for node in nodes if isinstance(node, ast.With | ast.AsyncWith) for item in node.items]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    used = [*entered, *(one.value for one in calls if isinstance(one, ast.Attribute))]
    return any(_root(one) in made for one in used) or any(isinstance(one, ast.Name) and one.id in runs for one in calls)


def _is_guarded(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return True
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _made(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives to workers and clients."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _root(node.value) in RUNNERS:
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _root(node: ast.expr) -> str:
    """The name of what is called, as in `Worker` of `Worker(…)` and of `infinitic.Worker(…)`."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
