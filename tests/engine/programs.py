"""Random workflows: a small language of statements, drawn by hypothesis and run by generators."""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Any

from dsl import (
    Cancelled,
    Channel,
    Flow,
    Workflow,
    compensations,
    dispatch,
    first,
    gather,
    inline,
    method,
    patched,
    query,
    race,
    random,
    settle,
    sleep,
    spawn,
    task,
    timeout,
    uuid4,
    workflow,
)

CHANNELS = ("red", "blue", "flash")
Node = tuple[Any, ...]
Block = list[Node]


@task
def work(name: str) -> int:
    raise NotImplementedError


@workflow
def kid(name: str) -> int:
    raise NotImplementedError


PLAIN = ("task", "task", "task", "kid", "call", "sleep", "sleep", "receive", "choose")
COMBINED = ("gather", "settle", "first", "race", "timeout")
SIMPLE = ("await", "safe", "safe", "safe", "safe", "dispatch", "dispatch", "random", "join", "cancel", "patch")
NESTED = (*SIMPLE, *SIMPLE, "spawn", "spawn", "try", "try", "try", "saga", "inline", "raise", "send", "drain")


def command(chance: Random, depth: int) -> Node:
    """A command; deeper ones hold others."""
    kind = chance.choice(PLAIN if depth <= 0 else (*PLAIN, "deferred", "flow", "coroutine", *COMBINED))
    if kind in COMBINED:
        return kind, [command(chance, depth - 1) for _ in range(chance.randint(1, 3))]
    if kind in ("flow", "coroutine"):
        return kind, block(chance, depth - 1)
    if kind in ("sleep", "deferred"):
        return kind, chance.randint(0, 5)
    return kind, chance.choice(CHANNELS if kind in ("receive", "choose") else "abcdef")


def statement(chance: Random, depth: int, more: tuple[str, ...] = ()) -> Node:
    """A statement; deeper ones hold others."""
    kind = chance.choice((SIMPLE if depth <= 0 else NESTED) + more)
    if kind in ("await", "safe", "dispatch"):
        return kind, command(chance, depth)
    if kind in ("join", "cancel"):
        return kind, chance.randint(0, 5)
    if kind == "spawn":
        return kind, block(chance, depth - 1)
    if kind == "try":
        parts = [block(chance, depth - 1) if chance.randint(0, 2) else None for _ in range(2)]
        return kind, block(chance, depth - 1), *parts, bool(chance.randint(0, 1))
    if kind == "saga":
        return kind, block(chance, depth - 1), [chance.choice("abcdef") for _ in range(chance.randint(1, 2))]
    return (kind, chance.choice(CHANNELS)) if kind in ("drain", "patch") else (kind,)


def block(chance: Random, depth: int = 2, size: int = 0, more: tuple[str, ...] = ()) -> Block:
    """Some statements."""
    length = size or chance.randint(0, 4 if depth > 0 else 2)
    return [statement(chance, depth, more) for _ in range(length)]


def choosy(number: int) -> bool:
    """A predicate that says yes, says no, and fails."""
    return number > 12 // (number - 3)


class Awaited:
    """A generator that a coroutine can await."""

    def __init__(self, flow: Generator[Any, Any, Any]) -> None:
        self.flow = flow

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.flow


class Traced(Workflow):
    """What every workflow has that runs such statements."""

    red = Channel(int)
    blue = Channel(int)
    flash = Channel(int, buffered=False)

    def __init__(self) -> None:
        self.trace: list[Any] = []

    @method
    def quick(self) -> int:
        self.trace.append(str(uuid4()))
        return len(self.trace)

    @query
    def seen(self) -> list[Any]:
        return self.trace


def workflow_of(main: Block, other: Block, *, mended: bool = False) -> Any:
    """A workflow class that runs *main*, and *other* whenever that is called; *mended* leaves its bugs out."""

    class Drawn(Traced):
        @method
        def main(self) -> Flow[Any]:
            yield from Runner(self, mended).block(main)
            return len(self.trace)

        @method
        def other(self, n: int) -> Flow[Any]:
            self.trace.append(n)
            yield from Runner(self, mended).block(other)
            return len(self.trace)

    return Drawn


class Runner:
    """Runs statements; what comes of them goes into the instance's trace."""

    def __init__(self, instance: Any, mended: bool) -> None:
        self.instance = instance
        self.mended = mended
        self.deferreds: list[Any] = []

    def note(self, *what: Any) -> None:
        self.instance.trace.append([str(one) for one in what])

    def block(self, nodes: Block) -> Flow[None]:
        for node in nodes:
            yield from getattr(self, f"do_{node[0]}")(*node[1:])

    async def coroutine(self, nodes: Block) -> None:
        await Awaited(self.block(nodes))

    def made(self, node: Node) -> Any:
        """The command, deferred or flow that a node stands for."""
        kind, what = node
        simple: dict[str, Any] = {
            "task": lambda: work(what),
            "kid": lambda: kid(what),
            "call": lambda: type(self.instance).by_id(f"to-{what}").quick(),
            "sleep": lambda: sleep(what),
            "receive": lambda: getattr(self.instance, what).receive(),
            "choose": lambda: getattr(self.instance, what).receive(where=choosy),
            "flow": lambda: self.block(what),
            "coroutine": lambda: self.coroutine(what),
            "deferred": lambda: work("x") if self.deferred(what) is None else self.deferred(what),
        }
        return simple[kind]() if kind in simple else self.combined(kind, [self.made(one) for one in what])

    def combined(self, kind: str, made: list[Any]) -> Any:
        if kind == "race":
            return race(**{f"i{index}": one for index, one in enumerate(made)})
        if kind == "timeout":
            return timeout(gather(*made), 2)
        kinds: dict[str, Any] = {"gather": gather, "settle": settle, "first": first}
        return kinds[kind](*made)

    def deferred(self, index: int) -> Any:
        return self.deferreds[index % len(self.deferreds)] if self.deferreds else None

    def do_await(self, node: Node) -> Flow[None]:
        made = self.made(node)
        self.note((yield made))

    def do_safe(self, node: Node) -> Flow[None]:
        try:
            yield from self.do_await(node)
        except Exception as error:
            self.note(type(error).__name__, error)

    def do_dispatch(self, node: Node) -> Flow[None]:
        made = self.made(node)
        if node[0] in ("flow", "coroutine"):
            self.deferreds.append(spawn(made))
        else:
            self.deferreds.append(dispatch(made))
        yield from ()

    def do_spawn(self, nodes: Block) -> Flow[None]:
        self.deferreds.append(spawn(self.block(nodes)))
        yield from ()

    def do_join(self, index: int) -> Flow[None]:
        deferred = self.deferred(index)
        if deferred is not None:
            try:
                self.note((yield from timeout(deferred, 3)))
            except Exception as error:
                self.note(error)

    def do_cancel(self, index: int) -> Flow[None]:
        deferred = self.deferred(index)
        if deferred is not None:
            deferred.cancel()
            self.note(deferred.status())
        yield from ()

    def do_try(self, body: Block, handler: Block | None, cleanup: Block | None, stubborn: bool) -> Flow[None]:
        try:
            yield from self.block(body)
        except Cancelled:
            self.note("cancelled")
            if not stubborn:
                raise
        except Exception as error:
            self.note(type(error).__name__, error)
            if handler is None:
                raise
            yield from self.block(handler)
        finally:
            if cleanup is not None:
                yield from self.block(cleanup)

    def do_saga(self, body: Block, undos: list[str]) -> Flow[None]:
        with compensations() as undo:
            for name in undos:
                undo(work(name))
            yield from self.block(body)

    def do_inline(self) -> Flow[None]:
        self.note((yield from inline(lambda: 7)))

    def do_random(self) -> Flow[None]:
        self.note(random(), uuid4())
        yield from ()

    def do_patch(self, which: str) -> Flow[None]:
        if patched(which):
            self.note(which, (yield from sleep(1)))

    def do_send(self) -> Flow[None]:
        yield from type(self.instance).by_id("other").red.send(5)

    def do_drain(self, channel: str) -> Flow[None]:
        self.note(getattr(self.instance, channel).drain())
        yield from ()

    def do_raise(self) -> Flow[None]:
        yield from ()
        raise ValueError("raised")

    def do_bug(self) -> Flow[None]:
        if not self.mended:
            raise SystemExit("bug")  # which no handler here catches
        yield from ()
