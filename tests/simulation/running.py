"""Running: one seed, or one record of choices, is one world; what it comes to, and its trace."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from random import Random

from attrs import frozen

import infinitic.client.calls
import infinitic.client.session
import infinitic.worker.batches
import infinitic.worker.sweeps
from tests.simulation.chance import Chance, token
from tests.simulation.client import Client
from tests.simulation.outage import Outage
from tests.simulation.plans import Plan, asking, calling, pausing, sending, starting, stirring
from tests.simulation.programs import MOODS
from tests.simulation.residents import CODEC
from tests.simulation.shrinking import shrunk
from tests.simulation.witness import check
from tests.simulation.world import Troubles, World

IDS = (infinitic.client.calls, infinitic.client.session, infinitic.worker.batches, infinitic.worker.sweeps)


@contextmanager
def steady() -> Iterator[None]:
    """Ids are the same in each run, and nothing is logged."""
    chance = Random(0)
    made = lambda: f"{chance.getrandbits(128):032x}"  # noqa: E731
    names = [(module, "new_id") for module in IDS]
    before = [getattr(module, name) for module, name in names]
    logging.disable(logging.CRITICAL)
    try:
        for module, name in names:
            setattr(module, name, made)
        yield
    finally:
        for (module, name), its in zip(names, before, strict=True):
            setattr(module, name, its)
        logging.disable(logging.NOTSET)


@frozen
class Ran:
    """What became of one world: "" or the promise it broke, its choices, and its trace where one was wanted."""

    broken: str
    record: list[int]
    trace: list[str]
    actions: int


def populate(world: World, plans: Sequence[Plan]) -> None:
    """The clients that carry out the plans."""
    MOODS.clear()
    world.planned = [plan.id for plan in plans if not plan.wild]
    scripts = []
    for plan in plans:
        scripts.append(("starter", plan, stirring if plan.wild else starting, ()))
        scripts += [("sender", plan, sending, (sender,)) for sender in plan.senders]
        scripts += [("caller", plan, calling, ())] if plan.calls else []
        scripts += [("asker", plan, asking, ())] if plan.queries else []
        scripts += [("pauser", plan, pausing, ())] if plan.pauses else []
    for name, plan, script, more in scripts:
        reads = world.chance.below(2) == 0
        client = Client(world, f"{name} of {plan.id} {' '.join(more)}".strip(), CODEC, reads=reads)
        client.script = script(client, plan, *more)
        world.clients.append(client)


def live(plans: Sequence[Plan], troubles: Troubles, chance: Chance, trace: list[str] | None = None) -> World:
    """A world in which the plans were carried out. Raises `AssertionError` for the first promise broken."""
    world = World(chance, troubles)
    world.trace = trace
    populate(world, plans)
    with dropped_generators() as dropped:
        try:
            world.run()
            world.witness.check_end()
        finally:
            world.end()
    check(not dropped or troubles.kill, "no generator is left to the garbage collector", dropped)
    return world


@contextmanager
def dropped_generators() -> Iterator[list[object]]:
    """The generators that were not closed but dropped; what is left by a failure or by the killed goes unseen."""
    dropped: list[object] = []
    gc.collect()  # what a world before this one, or another test, has left is none of it
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: dropped.append(unraisable.object)
    try:
        yield dropped
    except (Exception, Outage) as error:
        raise error.with_traceback(None) from None
    finally:
        gc.collect()
        sys.unraisablehook = before


def run(seed: int | None = None, record: Sequence[int] = (), *, traced: bool = False) -> Ran:
    """One world, and beside it the same plans in a world where nothing goes wrong."""
    chance = Chance(seed, record)
    trace: list[str] | None = [] if traced else None
    actions = 0
    with steady():
        troubles = Troubles.drawn(chance)
        plans = [Plan.drawn(chance, f"w{number}") for number in range(1 + chance.below(3))]
        if trace is not None:
            trace += [str(troubles), *map(str, plans)]
        try:
            expected = live(plans, Troubles(), Chance(), trace)
            if trace is not None:
                trace += ["", "--- and now with troubles ---"]
            world = live(plans, troubles, chance, trace)
            actions = world.actions_done
            check(
                world.outcomes() == expected.outcomes(),
                "it ends as without troubles",
                world.outcomes(),
                expected.outcomes(),
            )
            check(world.heard == expected.heard, "clients hear the same", world.heard, expected.heard)
        except AssertionError as error:
            return Ran(str(error) or "an assertion failed", chance.record, trace or [], actions)
        except (Exception, Outage) as error:
            return Ran(f"no error comes through: {error!r}", chance.record, trace or [], actions)
    return Ran("", chance.record, trace or [], actions)


# --- many ---

SHRINKING = 60.0
SHARE = 50
"""How many seeds a process takes at a time."""


@frozen
class Result:
    """What many seeds came to."""

    seeds: int
    actions: int
    broken: list[tuple[int, str]]

    @property
    def summary(self) -> str:
        """One line."""
        kept = f"{len(self.broken)} broke a promise" if self.broken else "every promise was kept"
        return f"{self.seeds:,} worlds, {self.actions:,} actions: {kept}"


def run_seeds(seeds: range, jobs: int | None = None, progress: Callable[[int], object] = lambda done: None) -> Result:
    """Run them in *jobs* processes (default one a core); those that broke a promise first come first."""
    shares = [seeds[start : start + SHARE] for start in range(0, len(seeds), SHARE)]
    actions, broken = 0, []
    with ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for share in as_completed([pool.submit(_run_share, share) for share in shares]):
            done, its_actions, its_broken = share.result()
            progress(done)
            actions += its_actions
            broken += its_broken
    return Result(len(seeds), actions, sorted(broken))


def _run_share(seeds: range) -> tuple[int, int, list[tuple[int, str]]]:
    gc.freeze()  # what lives for ever need not be looked at after each world
    actions, broken = 0, []
    for seed in seeds:
        ran = run(seed)
        actions += ran.actions
        if ran.broken:
            broken.append((seed, ran.broken))
    return len(seeds), actions, broken


def told(seed: int, broken: str, seconds: float = SHRINKING) -> str:
    """What one reads of a seed that failed: shrunk, with its trace, and how to see it again."""
    promise = broken.partition(":")[0]

    def breaks(record: Sequence[int]) -> Sequence[int] | None:
        ran = run(record=record)
        return ran.record if ran.broken.partition(":")[0] == promise else None

    record = shrunk(run(seed).record, breaks, seconds)
    ran = run(record=record, traced=True)
    again = f"python -m tests.simulation --replay {token(record)}"
    return "\n".join([f"seed {seed}: {broken}", "shrunk to:", *ran.trace, ran.broken, "", f"to see it again: {again}"])
