"""Flows: a generator that was not started yet, made once more; and what can be rehearsed, as a workflow's call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any

from dsl.calls import Call, StartCall
from dsl.commands import described
from dsl.protocol import is_flow
from dsl.workflows import workflow


def call_of(flow: Any) -> StartCall[Any]:
    """The start that *flow* describes. A generator or coroutine becomes a workflow of that name without arguments.

    Raises `TypeError` for what is no flow, `ValueError` for one that runs already.
    """
    if isinstance(flow, StartCall):
        return flow
    if isinstance(flow, Call) or not is_flow(flow):
        raise TypeError(
            f"a rehearsal takes the call of a workflow, as in rehearse(trip('Oslo')), or a generator, "
            f"not {described(flow)}"
        )
    make, name = remade(flow), flow.__name__
    if inspect.iscoroutine(flow):
        flow.close()  # else it complains that nobody awaited it
    started: Any = workflow(name=name if name.isidentifier() else "flow")(make)()
    return started  # type: ignore[no-any-return]  # calling a workflow describes its start


def remade(flow: Any) -> Callable[[], Any]:
    """What makes generators, or coroutines, like *flow*, which must not have been started."""
    fresh = inspect.GEN_CREATED if inspect.isgenerator(flow) else inspect.CORO_CREATED
    state = inspect.getgeneratorstate(flow) if inspect.isgenerator(flow) else inspect.getcoroutinestate(flow)
    if state != fresh:
        raise ValueError(f"{flow!r} runs already or is over: call its function once more")
    code: CodeType = flow.gi_code if inspect.isgenerator(flow) else flow.cr_code
    frame: Any = flow.gi_frame if inspect.isgenerator(flow) else flow.cr_frame
    values, names = dict(frame.f_locals), iter(code.co_varnames)
    cells = tuple(CellType(values[name]) if name in values else CellType() for name in code.co_freevars)
    fn = FunctionType(code, frame.f_globals, code.co_name, None, cells)
    plain = [values[next(names)] for _ in range(code.co_argcount)]
    keywords = {name: values[name] for name in (next(names) for _ in range(code.co_kwonlyargcount))}
    rest = values[next(names)] if code.co_flags & inspect.CO_VARARGS else ()
    others = values[next(names)] if code.co_flags & inspect.CO_VARKEYWORDS else {}
    return lambda: fn(*plain, *rest, **keywords, **others)
