"""Slips that a workflow's source shows when it is registered: calls whose result is dropped, updates that are lost.

`charge(card, 5)` on a line of its own describes a call and does nothing; `yield from` was forgotten. And
`self.points += yield from …` reads `self.points` before it waits: what other methods add meanwhile is lost.
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
from dsl.tags import add_tags, remove_tags
from dsl.timers import sleep, sleep_until
from dsl.workflows import Described
from infinitic.engine.programs import Program

INERT = (sleep, sleep_until, gather, race, first, settle, timeout, inline, continue_as_new, add_tags, remove_tags)
INERT_METHODS = (Channel.receive, Mailbox.receive, Sender.send)


def dropped_calls(program: Program) -> list[str]:
    """One line for each slip: "file:line: `source` does nothing: write `yield from …`". Empty when all is well."""
    holder = program.definition if isinstance(program.definition, type) else None
    return [line for definition in program.members.values() for line in _in_function(definition.fn, holder)]


def _in_function(fn: Any, holder: type | None) -> Iterator[str]:
    try:
        lines, start = inspect.getsourcelines(fn)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return  # no source: nothing can be told
    names = {**getattr(fn, "__globals__", {}), **_closure(fn)}
    own = next(iter(inspect.signature(fn).parameters)) if holder is not None else ""
    if holder is not None:
        names[own] = Self(holder)
    word = "await" if inspect.iscoroutinefunction(fn) else "yield from"
    for node in ast.walk(tree):
        slip = _dropped(node, names, word) or _lost(node, own)
        if slip:
            yield f"{inspect.getsourcefile(fn)}:{start + getattr(node, 'lineno', 1) - 1}: {slip}"


def _dropped(node: ast.AST, names: dict[str, Any], word: str) -> str:
    """What to say of a call on a line of its own that does nothing."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return ""
    if not _does_nothing(_resolved(node.value.func, names)):
        return ""
    source = ast.unparse(node.value)
    return f"`{source}` does nothing: write `{word} {source}`, or dispatch({source})"


def _lost(node: ast.AST, own: str) -> str:
    """What to say of an update of the instance's state (*own* is its name there) that waits after it has read it."""
    match node:
        case ast.AugAssign(target=target, value=value):
            reads = True
        case ast.Assign(targets=[target], value=ast.BinOp(left=left, right=value)):
            reads = any(ast.unparse(one) == ast.unparse(target) for one in ast.walk(left) if isinstance(one, ast.expr))
        case _:
            return ""
    if not (reads and _root(target) == own and isinstance(target, ast.Attribute | ast.Subscript) and _waits(value)):
        return ""
    read = ast.unparse(target)
    waits = ast.unparse(value)
    waits = waits[1:-1] if isinstance(value, ast.Yield | ast.YieldFrom) else waits  # without its parentheses
    first = f"Wait first: `more = {waits}`, then go on with `more`"
    return f"`{ast.unparse(node)}` reads {read} before it waits, and what others change meanwhile is lost. {first}"


def _root(node: ast.expr) -> str:
    """The name that attributes and items begin with, as in `self` of `self.points["x"]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _waits(value: ast.expr) -> bool:
    return any(isinstance(one, ast.Yield | ast.YieldFrom | ast.Await) for one in ast.walk(value))


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
