"""Replay from stored bytes, every check on, beside the bare loop and the peers in the same run; and what a parked
workflow weighs.

The bare loop decodes each turn and the result in it by their types, sends that to the same generator, and compares the
encoded arguments of what it yields: no instance, no positions, no table of what is open. Rounds of both alternate;
figures are medians over the rounds, with their range. The peers replay the same workflow of sequential tasks, in turns
with the engine, and each asserts its result.

    python -m benchmarks.replay [--rounds 15] [--quick]
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from types import ModuleType
from typing import Any, NamedTuple

import click
from msgspec import Raw
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks import peers
from benchmarks._figures import spread
from infinitic import Flow, gather, task, workflow
from infinitic.engine import turns
from infinitic.engine.instance import Instance, Surroundings
from infinitic.engine.programs import Program
from infinitic.events import Started, TaskCompleted
from infinitic.history import Turn, decode_turn, encode_turn
from infinitic.serialization import Serializer

decoded: Callable[[bytes], Any] = decode_turn
RUN = "00000000000000000000000000000001"
NOON = 1_800_000_000_000_000
CODEC = Serializer()
SURROUNDINGS = Surroundings(CODEC)
KILOBYTE = "x" * 1_000
TARGETS = {"durabletask": 10, "dbos": 100, "temporal": 400}
"""How many times faster than each peer replay is to be."""
PEER_LENGTHS = (100, 1_000)


@task
def add(total: int, number: int) -> int:
    raise NotImplementedError


@task
def fetch(number: int) -> dict[str, str]:
    raise NotImplementedError


@workflow
def chain(steps: int) -> Flow[int]:
    total = 0
    for number in range(steps):
        total = yield from add(total, number)
    return total


@workflow
def documents(steps: int) -> Flow[int]:
    total = 0
    for number in range(steps):
        total += len((yield from fetch(number))["text"])
    return total


@workflow
def fan(steps: int) -> Flow[int]:
    return sum((yield from gather(*[add(number, 1) for number in range(steps)])))


PROGRAMS = {one: Program(one) for one in (chain, documents, fan)}


class Shape(NamedTuple):
    """A workflow of so many *steps*, replayed *times* over in a round."""

    name: str
    definition: Any
    steps: int
    result: Callable[[int], Any]
    times: int = 1


def shapes(quick: bool) -> list[Shape]:
    """What is measured."""
    longest = 10_000 if quick else 100_000
    lengths = [length for length in (10, 100, 1_000, 10_000, 100_000) if length <= longest]
    return [
        *(tasks(length) for length in lengths),
        Shape("1,000 tasks, 1 KB each", documents, 1_000, lambda n: {"text": KILOBYTE}),
        Shape("gather of 1,000", fan, 1_000, lambda n: n),
        Shape("1,000 workflows × 10", chain, 10, lambda n: n, 1_000),
    ]


def tasks(length: int) -> Shape:
    """So many sequential tasks."""
    return Shape(f"{length:,} tasks", chain, length, lambda n: n, max(1, 2_000 // length))


def history(shape: Shape) -> list[bytes]:
    """The stored turns of a whole run, made by the engine itself."""
    instance = Instance(PROGRAMS[shape.definition], "wf-1", SURROUNDINGS)
    arguments = Raw(CODEC.encode(shape.definition(shape.steps).arguments))
    start = Started("start-1", shape.definition.name, RUN, "", arguments, sent=NOON)
    made = [applied(instance, start, NOON)]
    asked = [one.position for one in made[0].commands]
    for number in range(shape.steps):
        at = NOON + number * 1_000
        value = Raw(CODEC.encode(shape.result(number)))
        came = TaskCompleted(f"{RUN}/{asked[number]}", asked[number], value, 1, "worker-1", at, at + 500)
        made.append(applied(instance, came, at + 600))
        asked += [one.position for one in made[-1].commands]
    return [encode_turn(turn) for turn in made]


def applied(instance: Instance, event: Any, at: int) -> Turn:
    """The turn that an event makes."""
    made = turns.apply(instance, event, at)
    assert isinstance(made, Turn)
    return made


def replayed(shape: Shape, bodies: list[bytes]) -> Instance:
    """A live instance, made by the engine."""
    instance = Instance(PROGRAMS[shape.definition], "wf-1", SURROUNDINGS)
    turns.replay(instance, bodies)
    return instance


# --- the bare loop ---


def bare_chain(shape: Shape, bodies: list[bytes]) -> Any:
    """Sequential tasks, with nothing but what replay cannot do without."""
    flow, turn = begun(shape, bodies)
    decode, encode = CODEC.signature(fetch if shape.definition is documents else add).decode_result, CODEC.encode
    call = flow.send(None)
    try:
        for body in bodies[1:]:
            if encode(call.arguments) != bytes(turn.commands[0].arguments):
                raise ValueError(turn)
            turn = decoded(body)
            call = flow.send(decode(turn.event.value))
    except StopIteration as stop:
        return stop.value


def bare_fan(shape: Shape, bodies: list[bytes]) -> Any:
    """The same for tasks side by side."""
    flow, turn = begun(shape, bodies)
    decode, encode = CODEC.signature(add).decode_result, CODEC.encode
    for call, issued in zip(flow.send(None).items, turn.commands, strict=True):
        if encode(call.arguments) != bytes(issued.arguments):
            raise ValueError(issued)
    values = []
    for body in bodies[1:]:
        turn = decoded(body)
        values.append(decode(turn.event.value))
    try:
        flow.send(tuple(values))
    except StopIteration as stop:
        return stop.value


def begun(shape: Shape, bodies: list[bytes]) -> tuple[Generator[Any, Any, Any], Any]:
    """The workflow's generator, not started, and its first turn."""
    turn = decoded(bodies[0])
    signature = CODEC.signature(shape.definition)
    return signature.call(shape.definition.fn, signature.decode_arguments(turn.event.arguments)), turn


# --- measuring ---


def seconds(work: Callable[[Shape, list[bytes]], Any], shape: Shape, bodies: list[bytes]) -> float:
    """How long one step takes."""
    gc.collect()
    began = time.perf_counter()
    for _ in range(shape.times):
        work(shape, bodies)
    return (time.perf_counter() - began) / shape.times / shape.steps


def measured(shape: Shape, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds a step, of the bare loop and of the engine, by round; they take turns."""
    bodies = history(shape)
    bare = bare_fan if shape.definition is fan else bare_chain
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 2):
        for figures, work in zip(found, (bare, replayed), strict=True):
            took = seconds(work, shape, bodies)
            if number >= 2:  # the first two warm up
                figures.append(took)
    return found


def beside(peer: ModuleType, steps: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds a step, of the engine and of a peer, by round; they take turns."""
    shape = tasks(steps)
    bodies = history(shape)
    with closing(peer.replays(steps)) as theirs:
        pairs = [(seconds(replayed, shape, bodies), next(theirs) / steps) for _ in range(rounds + 1)]
    ours, its = zip(*pairs[1:], strict=True)  # the first warms up
    return list(ours), list(its)


def parked(make: Callable[[], Any], count: int = 1_000) -> float:
    """How many bytes one of many weighs."""
    make()
    gc.collect()
    tracemalloc.start()
    kept = [make() for _ in range(count)]
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return weight


# --- the table ---


def shown(figures: list[float]) -> tuple[str, str]:
    """Microseconds a step, and steps a second."""
    middle = statistics.median(figures)
    return spread([one * 1e6 for one in figures], 2 if middle < 1e-4 else 0), f"{1 / middle:,.0f}"


def ratio(mine: list[float], its: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(mine, its, strict=True))


def our_rows(table: Table, rounds: int, quick: bool) -> None:
    """The engine beside the bare loop."""
    for shape in shapes(quick):
        bare, engine = measured(shape, rounds)
        table.add_row(shape.name, shown(bare)[0], *shown(engine), f"{ratio(engine, bare):.2f}", "")


def peer_rows(table: Table, rounds: int) -> Iterator[str]:
    """The peers beside the engine; gives how each one replays, in words."""
    for name, target in TARGETS.items():
        peer = peers.find(name)
        if peer is None:
            table.add_row(peers.label(name), "", escape(peers.MISSING))
            continue
        for steps in PEER_LENGTHS:
            ours, theirs = beside(peer, steps, rounds)
            faster = f"{ratio(theirs, ours):,.0f}, best rounds {min(theirs) / min(ours):,.0f} (target ≥ {target})"
            table.add_row(f"{steps:,} tasks: {peers.label(name)}", "", *shown(theirs), "", faster)
        yield f"{name}: {peer.NOTE}."


def weights() -> str:
    """What a parked workflow weighs, in words."""
    shape = tasks(10)
    bodies = history(shape)[:1]
    own = parked(lambda: (flow := begun(shape, bodies)[0], flow.send(None)))
    whole = parked(lambda: replayed(shape, bodies))
    return (
        f"A parked workflow weighs {whole:,.0f} bytes; its generator and the call it waits for are {own:,.0f} of them."
    )


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True, help="How many; of the peers at most five.")
@click.option("--quick", is_flag=True, help="Few rounds, nothing over 10,000 tasks.")
def main(rounds: int, quick: bool) -> None:
    """Print one table."""
    columns = ("replay", "bare loop, µs a step", "µs a step", "steps/s", "÷ bare loop", "÷ engine")
    table = Table(*columns, title="Replay", caption_justify="left")
    our_rows(table, 5 if quick else rounds, quick)
    weighed = weights()
    table.caption = "\n".join(peer_rows(table, min(rounds, 3 if quick else 5)))
    console = Console(width=140)
    console.print(table)
    console.print(weighed)


if __name__ == "__main__":
    main()
