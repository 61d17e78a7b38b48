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
from dsl.channels import Channel, Mailbox, Sender
from dsl.combinators import first, gather, race, settle, timeout
from dsl.inlines import continue_as_new, inline
from dsl.timers import sleep, sleep_until
from dsl.workflows import Described
from infinitic.engine.programs import Program

INERT = (sleep, sleep_until, gather, race, first, settle, timeout, inline, continue_as_new)
INERT_METHODS = (Channel.receive, Mailbox.receive, Sender.send)


def dropped_calls(program: Program) -> list[str]:
    """One line for each: "file:line: `source` does nothing: write `yield from …`". Empty when all is well."""
    holder = program.definition if isinstance(program.definition, type) else None
    return [line for definition in program.members.values() for line in _in_function(definition.fn, holder)]


def _in_function(fn: Any, holder: type | None) -> Iterator[str]:
    try:
        lines, start = inspect.getsourcelines(fn)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # no source: nothing can be told
    names = {**getattr(fn, "__globals__", {}), **_closure(fn)}
    if holder is not None:
        names[next(iter(inspect.signature(fn).parameters))] = Self(holder)
    word = "await" if inspect.iscoroutinefunction(fn) else "yield from"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            continue
        if _does_nothing(_resolved(node.value.func, names)):
            source = ast.unparse(node.value)
            where = f"{inspect.getsourcefile(fn)}:{start + node.lineno - 1}"
            yield f"{where}: `{source}` does nothing: write `{word} {source}`, or dispatch({source})"


class Self:
    """Stands for the instance of a workflow class: what its attributes are, without one."""

    def __init__(self, holder: type) -> None:
        self._holder = holder

    def __getattr__(self, name: str) -> Any:
        found = inspect.getattr_static(self._holder, name)
        if isinstance(found, Channel):
            return Mailbox(found)
        return getattr(found, "fn", found)


def _closure(fn: Any) -> dict[str, Any]:
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None) or ()
    found = {}
    for name, cell in zip(code.co_freevars if code is not None else (), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not filled yet
            continue
    return found


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a name, attributes of a name, or those of its `by_id(…)` stand for; None when that is not known."""
    try:
        match node:
            case ast.Name():
                return names.get(node.id)
            case ast.Attribute():
                return getattr(_resolved(node.value, names), node.attr)
            case ast.Call(func=ast.Attribute(attr="by_id")):
                return _resolved(node.func, names)("any")
    except Exception:
        return None
    return None


def _does_nothing(function: Any) -> bool:
    """Whether a call of *function* only describes, or makes a generator or coroutine that nobody runs."""
    if inspect.ismethod(function):
        function = function.__func__
    if isinstance(function, Definition | Described):
        return True
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        return True
    return any(function is one for one in (*INERT, *INERT_METHODS))
