"""How long instances stand still when one of two processes of a role is killed (SIGKILL)."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.takeover import PATIENCE, Round


def takeovers(
    roles: Sequence[str],
    serving: Callable[[str], Any],
    last: Callable[[], list[int]],
    turns: Callable[[], list[list[int]]],
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds from each kill until all instances have gone on, by the role of which one was killed, *rounds* times.

    *serving* runs a process of a role; *last* and *turns* tell when each instance made its last turn, and all.
    """
    kills = []
    with ExitStack() as stack:
        processes = {role: [stack.enter_context(serving(role)) for _ in range(2)] for role in roles}
        for role in [*roles] * rounds:
            await_turns(last, time.time_ns() // 1_000)
            kills.append((role, Round(processes[role].pop(0))))
            await_turns(last, kills[-1][1].dead)
            processes[role].append(stack.enter_context(serving(role)))
    made = turns()
    return {role: [max(gap(its, kill) for its in made) for of, kill in kills if of == role] for role in roles}


def await_turns(last: Callable[[], list[int]], since: int) -> None:
    """Return when all have made a turn after *since*. Raises `TimeoutError`."""
    until = time.monotonic() + PATIENCE
    while behind := sum(one <= since for one in last()):
        if time.monotonic() > until:
            raise TimeoutError(f"{behind} instances made no turn within {PATIENCE:g} s")
        time.sleep(0.05)


def gap(turns: list[int], kill: Round) -> float:
    """Seconds from a kill to the next turn."""
    return (turns[bisect_right(turns, kill.dead)] - kill.killed) / 1e6
