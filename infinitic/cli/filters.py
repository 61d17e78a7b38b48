"""Filters: the options by which `list` and the commands for many instances say which ones they mean."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from infinitic.cli.values import naming, since
from infinitic.client.which import wanted
from infinitic.records import STATUSES, Filter

F = TypeVar("F", bound=Callable[..., Any])

WAITING = "Waiting for this task, channel, child's workflow or called method, or kind: task, timer, receive."
OPTIONS: dict[str, dict[str, Any]] = {
    "workflow": {"help": "Of this workflow only."},
    "status": {"help": "Of this status only."},
    "tag": {"help": "With this tag only."},
    "parent": {"metavar": "ID", "help": "Children of this instance only."},
    "waiting_for": {"metavar": "NAME", "help": WAITING},
    "since": {"type": since, "help": "Started in the last 2h, or since 2026-07-01T12:00."},
    "until": {"type": since, "help": "Started longer ago than 2h, or before 2026-07-01T12:00."},
    "ended_since": {"type": since, "help": "Ended in the last 2h, or since then."},
    "ended_until": {"type": since, "help": "Ended longer ago than 2h, or before then."},
    "id_prefix": {"metavar": "TEXT", "help": "With ids that begin with this only."},
}


def filtered(statuses: Sequence[str] = STATUSES) -> Callable[[F], F]:
    """The options of a filter; the command gets what was given of them as the dict *which*.

    Without a choice of several *statuses* there is no option for them.
    """

    def decorate(fn: Any) -> Any:
        @functools.wraps(fn)
        def gathering(*args: Any, **given: Any) -> Any:
            which = {name: value for name in OPTIONS if (value := given.pop(name, None)) is not None}
            return fn(*args, which=which, **given)

        for name, facts in reversed(OPTIONS.items()):
            if name != "status":
                gathering = click.option(f"--{name.replace('_', '-')}", name, **facts)(gathering)
            elif len(statuses) > 1:
                gathering = click.option("--status", type=click.Choice(statuses), **facts)(gathering)
        return gathering

    return decorate


def filter_of(which: dict[str, Any]) -> Filter:
    """The filter that these options are. Raises `click.BadParameter` for what cannot be meant."""
    rest = {name: value for name, value in which.items() if name != "workflow"}
    with naming("filters"):
        return wanted(which.get("workflow"), rest)
