"""Calls whose result is dropped: found in the source of a workflow when it is registered.

`charge(card, 5)` on a line of its own describes a call and does nothing; `yield from` was forgotten.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from dsl.calls import Definition
from dsl.combinators import first, gather, race, settle, timeout
from dsl.inlines import continue_as_new, inline
from dsl.timers import sleep, sleep_until
from dsl.workflows import Described
from infinitic.engine.programs import Program

INERT = (sleep, sleep_until, gather, race, first, settle, timeout, inline, continue_as_new)


def dropped_calls(program: Program) -> list[str]:
    """One line for each: "file:line: `source` does nothing: write `yield from …`". Empty when all is well."""
    return [line for definition in program.members.values() for line in _in_function(definition.fn)]


def _in_function(fn: Any) -> Iterator[str]:
    try:
        lines, start = inspect.getsourcelines(fn)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # no source: nothing can be told
    names = {**getattr(fn, "__globals__", {}), **_closure(fn)}
    word = "await" if inspect.iscoroutinefunction(fn) else "yield from"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and _describes(node.value.func, names)
        ):
            source = ast.unparse(node.value)
            where = f"{inspect.getsourcefile(fn)}:{start + node.lineno - 1}"
            yield f"{where}: `{source}` does nothing: write `{word} {source}`, or dispatch({source})"


def _closure(fn: Any) -> dict[str, Any]:
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None) or ()
    found = {}
    for name, cell in zip(code.co_freevars if code is not None else (), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _describes(node: ast.expr, names: dict[str, Any]) -> bool:
    """Whether the called expression is a name, or attributes of a name, that only describes."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return False
    value = names[node.id]
    for attribute in reversed(attributes):
        try:
            value = getattr(value, attribute)
        except Exception:
            return False
    return isinstance(value, Definition | Described) or value in INERT if _hashable(value) else False


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
