"""Random combinators, nested, under random answers: who wins is what a small oracle says, after every event.

The oracle knows nothing of slots and observers: from when each leaf settled it works out when the whole does.
The driver replays the history after every event besides, and compares all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from random import Random
from typing import Any, NamedTuple

from attrs import field, frozen
from hypothesis import event, given
from hypothesis import strategies as st

from dsl import (
    Channel,
    Deferred,
    Flow,
    Outcome,
    TaskFailed,
    WorkflowFailed,
    dispatch,
    first,
    gather,
    race,
    settle,
    sleep,
    spawn,
    timeout,
)
from tests.engine.driver import Driver, drive
from tests.engine.given import child, step

LEAVES = ("task", "task", "child", "sleep", "receive", "victim", "over")
JOINS = ("gather", "and", "settle", "first", "or", "race", "timeout", "branch", "coroutine")
MAY_BE_EMPTY = ("gather", "settle", "branch", "coroutine")


@frozen
class Node:
    """A leaf, which is settled from outside at its *position*; or a combinator or a sub-flow of *items*."""

    kind: str
    items: tuple[Node, ...] = ()
    position: str = ""
    signals: str = field(default="", kw_only=True)  # the position of the receive that cancels a victim


def drawn(chance: Random, depth: int) -> Node:
    """A tree without positions."""
    kind = chance.choice(LEAVES if depth == 0 else (*JOINS, *LEAVES[2:]))
    if kind in LEAVES:
        return Node(kind)
    if kind == "timeout":
        return Node(kind, (drawn(chance, depth - 1), Node("sleep")))
    items = [drawn(chance, depth - 1) for _ in range(chance.randint(kind not in MAY_BE_EMPTY, 3))]
    if kind in ("and", "or"):  # flat, where an operator joins what the same operator gave
        items[0] = Node(chance.choice(LEAVES))
    return Node(kind, tuple(items))


def placed(node: Node, prefix: str, counters: dict[str, Iterator[int]], victims: list[Node]) -> Node:
    """The tree with the positions that its commands get, in the order in which they are asked for."""
    if node.kind == "victim":
        return victims.pop(0)
    inside = prefix
    if node.kind in ("branch", "coroutine"):
        inside = f"{prefix}b{next(counters[prefix])}."
    elif node.kind in LEAVES:
        return Node(node.kind, position=f"{prefix}{next(counters[prefix])}")
    return Node(node.kind, tuple(placed(one, inside, counters, victims) for one in node.items))


def victims_of(node: Node) -> int:
    return (node.kind == "victim") + sum(map(victims_of, node.items))


class Tree:
    """A tree with its positions. Those whose deferreds may be cancelled come first: *victims*."""

    def __init__(self, node: Node) -> None:
        counters: dict[str, Iterator[int]] = defaultdict(lambda: iter(range(1_000)))
        main = counters["m0."]
        self.victims = [
            Node("victim", position=f"m0.{next(main)}", signals=f"m0.b{next(main)}.0") for _ in range(victims_of(node))
        ]
        self.root = placed(node, "m0.", counters, [*self.victims])

    def flow(self) -> Flow[Any]:
        """The workflow."""
        return Written().flow(self)


class Written:
    """A tree as workflow code, for one life of it."""

    def __init__(self) -> None:
        self.deferreds: dict[str, Deferred[Any]] = {}

    def flow(self, tree: Tree) -> Flow[Any]:
        for victim in tree.victims:
            self.deferreds[victim.position] = dispatch(step(victim.position))
            spawn(self.cancels(victim))
        try:
            return ["ok", plain((yield self.made(tree.root)))]
        except Exception as error:
            return ["no", name_of(error)]

    def cancels(self, victim: Node) -> Flow[None]:
        yield from Channel(str, name=victim.signals).receive()
        self.deferreds[victim.position].cancel()

    def made(self, node: Node) -> Any:
        """What workflow code writes for a node."""
        simple: dict[str, Callable[[], Any]] = {
            "task": lambda: step(node.position),
            "child": lambda: child(node.position),
            "sleep": lambda: sleep(60),
            "over": lambda: sleep(0),
            "receive": lambda: Channel(str, name=node.position).receive(),
            "victim": lambda: self.deferreds[node.position],
            "branch": lambda: self.branch(node),
            "coroutine": lambda: self.coroutine(node),
        }
        return simple[node.kind]() if node.kind in simple else self.joined(node.kind, [*map(self.made, node.items)])

    def joined(self, kind: str, made: list[Any]) -> Any:
        combinators: dict[str, Callable[[], Any]] = {
            "gather": lambda: gather(*made),
            "settle": lambda: settle(*made),
            "first": lambda: first(*made),
            "and": lambda: reduce(and_, made) if len(made) > 1 else gather(*made),
            "or": lambda: reduce(or_, made) if len(made) > 1 else first(*made),
            "race": lambda: race(**{f"i{index}": one for index, one in enumerate(made)}),
            "timeout": lambda: timeout(made[0], 60),
        }
        return combinators[kind]()

    def branch(self, node: Node) -> Flow[list[Any]]:
        answers = []
        for one in node.items:
            answers.append((yield self.made(one)))
        return answers

    async def coroutine(self, node: Node) -> list[Any]:
        return [await Awaited(self.made(one)) for one in node.items]


class Awaited:
    """Whatever may be yielded, for a coroutine to await."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def __await__(self) -> Any:
        return (yield self.made)


def plain(value: Any) -> Any:
    """An answer as JSON has it."""
    if isinstance(value, Outcome):
        return ["ok", plain(value.value)] if value.ok else ["no", name_of(value.error)]
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def name_of(error: Any) -> str:
    """What the oracle calls an error."""
    cause = error.error if isinstance(error, TaskFailed | WorkflowFailed) else error
    return str(cause) if isinstance(cause, LookupError) else type(error).__name__


# --- the oracle ---


class Told(NamedTuple):
    """How something ended: by which event (0: at once), and with what answer or error."""

    at: int
    ok: bool
    value: Any


def judged(node: Node, told: dict[str, Told], since: int = 0) -> Told | None:
    """How *node*, which was asked for by event *since*, ended; None while it has not."""
    if node.kind == "over":
        return Told(since, True, None)
    if node.kind in LEAVES:
        found = told.get(node.position)
        return found and found._replace(at=max(found.at, since))
    if node.kind in ("branch", "coroutine"):
        return one_by_one(node, told, since)
    ends = [judged(one, told, since) for one in node.items]
    return WHOLE[node.kind]([end for end in ends if end is not None], ends, since)


def one_by_one(node: Node, told: dict[str, Told], since: int) -> Told | None:
    """How a sub-flow ended, which waits for its items one after the other."""
    answers = []
    for one in node.items:
        end = judged(one, told, since)
        if end is None or not end.ok:
            return end
        since = end.at
        answers.append(end.value)
    return Told(since, True, answers)


def earliest(ends: list[Told]) -> Told | None:
    return min(ends, key=lambda end: end.at, default=None)


def latest(ends: list[Told], since: int) -> int:
    return max((end.at for end in ends), default=since)


def gathered(settled: list[Told], ends: list[Any], since: int) -> Told | None:
    failure = earliest([end for end in settled if not end.ok])
    if failure is None and len(settled) == len(ends):
        return Told(latest(settled, since), True, [end.value for end in settled])
    return failure


def all_settled(settled: list[Told], ends: list[Any], since: int) -> Told | None:
    outcomes = [["ok" if end.ok else "no", end.value] for end in settled]
    return Told(latest(settled, since), True, outcomes) if len(settled) == len(ends) else None


def the_first(settled: list[Told], ends: list[Any], since: int) -> Told | None:
    winner = earliest([end for end in settled if end.ok])
    if winner is None and len(settled) == len(ends):
        return sorted(settled, key=lambda end: end.at)[-1]
    return winner


def raced(settled: list[Told], ends: list[Any], since: int) -> Told | None:
    winner = earliest(settled)
    if winner is None or not winner.ok:
        return winner
    return winner._replace(value=[f"i{next(n for n, end in enumerate(ends) if end is winner)}", winner.value])


def timed(settled: list[Told], ends: list[Any], since: int) -> Told | None:
    winner = earliest(settled)
    return Told(winner.at, False, "TimeoutError") if winner is not None and winner is ends[1] else winner


WHOLE: dict[str, Callable[[list[Told], list[Any], int], Told | None]] = {
    "gather": gathered,
    "and": gathered,
    "settle": all_settled,
    "first": the_first,
    "or": the_first,
    "race": raced,
    "timeout": timed,
}
"""How a combinator ended, from what of its items is *settled*, from all of them, and from when it was asked for."""


# --- both side by side ---


def settled_by(run: Driver, chance: Random, tree: Tree) -> tuple[str, bool, Any]:
    """Settle one of what is open, somehow: which, and how."""
    position = chance.choice(run.open)
    slot = run.instance.open[position]
    cancels = {victim.signals: victim.position for victim in tree.victims}
    if slot.kind == "receive":
        run.signal(f"s{len(run.turns)}", position, position)
        return (cancels[position], False, "TaskCancelled") if position in cancels else (position, True, position)
    if slot.kind == "timer":
        run.fire(position)
        return position, True, None
    how = chance.choice(("ok", "ok", "failed") if slot.kind == "task" else ("ok", "failed", "cancelled"))
    if how == "ok":
        run.complete(position, position) if slot.kind == "task" else run.answer(position, 7)
        return position, True, position if slot.kind == "task" else 7
    if how == "failed":
        error = LookupError(position)
        run.fail(position, error) if slot.kind == "task" else run.answer(position, status="failed", error=error)
        return position, False, position
    run.answer(position, status="cancelled")
    return position, False, "WorkflowCancelled"


def lives(chance: Random) -> str:
    """One tree from its start to its end; what that was."""
    tree = Tree(drawn(chance, 3))
    run, told = drive(tree.flow), dict[str, Told]()
    for number in range(1, 200):
        end = judged(tree.root, told)
        assert run.status == ("running" if end is None else "completed")
        if end is not None:
            assert run.result == ["ok" if end.ok else "no", end.value]
            return f"{tree.root.kind} {run.result[0]}"
        position, ok, value = settled_by(run, chance, tree)
        told.setdefault(position, Told(number, ok, value))
    raise AssertionError("it has no end")


@given(chance=st.randoms(use_true_random=False))
def test_nested_combinators_settle_as_the_oracle_says_live_and_replayed(chance: Random) -> None:
    event(lives(chance))


def test_many_nested_combinators_settle_as_the_oracle_says(count: Callable[[int, int], int]) -> None:
    ends = Counter(lives(Random(seed)) for seed in range(count(300, 20_000)))

    assert {end.partition(" ")[0] for end in ends} >= {*JOINS}
