"""`doctor`: is all there that the configuration names, is it set so that nothing is lost, does somebody serve?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.text import Text

from infinitic.advice import Finding, Level, advise
from infinitic.backends.urls import (
    open_backend,
    open_schema,
    open_storage,
    open_transport,
    sqlite_path,
    storage_kind,
)
from infinitic.cli import exits
from infinitic.cli.console import output, put, put_json
from infinitic.cli.modules import load
from infinitic.cli.preparing import topics_of
from infinitic.cli.settings import Settings, as_json, everywhere
from infinitic.cli.words import counted
from infinitic.config import EMBEDDED, PULSAR, Config, scheme_of, shown
from infinitic.errors import OperatorError
from infinitic.storages import Storage
from infinitic.transports import Transport

SKEW = 1_000_000
"""By how much clocks may differ, in microseconds: from here on people are told."""
MARKS = {"good": ("✔", "green"), "warning": ("!", "yellow"), "bad": ("✗", "bold red")}


@click.command()
@click.argument("modules", nargs=-1, metavar="[MODULE...]")
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def doctor(settings: Settings, modules: tuple[str, ...]) -> int:
    """Say what is wrong with what the configuration names.

    Connects to transport and storage; looks at versions, rights, settings by which work may be lost, clocks, and at
    topics and their subscriptions: with a MODULE at those that its workflows and services need, whether anybody
    serves them, and how much waits. Changes nothing. Ends with 3 when anything is bad.

    \b
    Examples:
      infinitic doctor
      infinitic doctor trips --transport pulsar://host:6650 --storage redis://host
    """
    config = settings.config()
    found = load(modules) if modules else None
    all_good = True
    told: dict[str, list[Finding]] = {}
    for place, findings in _looks(config, found):
        told[place] = list(findings)
        if not settings.json:
            _print(place, told[place])
        all_good = all_good and all(one.level != "bad" for one in told[place])
    if settings.json:
        put_json(msgspec.json.encode(_as_data(told)).decode())
    return exits.OK if all_good else exits.OPERATOR


def _looks(config: Config, found: Any) -> Iterator[tuple[str, Iterable[Finding]]]:
    """Each place with what is found there; what cannot be reached is a finding."""
    transport, storage = shown(config.transport), config.storage
    if scheme_of(config.transport) in PULSAR:
        yield transport, _guarded(_of_transport(config, found))
    elif storage != config.transport:
        yield transport, [Finding("good", "in memory: gone with its process")]
    if storage is None:
        yield "no storage", [Finding("warning", "none is configured: services and clients only")]
    else:
        yield shown(storage), _guarded(_of_storage(config))


def _guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except OperatorError as error:
        yield Finding("bad", error.message, error.hint)


def _of_storage(config: Config) -> Iterator[Finding]:
    if _is_fresh(config):
        advice = "The first worker or client makes what it needs; look again then."
        yield Finding("warning", "holds no workflows yet", advice)
        return
    with _opened(config) as storage:
        began = time.time_ns() // 1000
        there = storage.now()
        lag = (time.time_ns() // 1000 - began) // 2
        yield Finding("good", f"answers in {lag * 2 / 1000:.1f} ms")
        yield _skew(there - began - lag)
        yield from advise(storage_kind(str(config.storage)), storage.server_settings())
        yield from _rights(storage)


def _is_fresh(config: Config) -> bool:
    """Whether nobody has used the storage yet. Raises `OperatorError` when that cannot be seen."""
    scheme = scheme_of(str(config.storage))
    if scheme == "sqlite":
        return not os.path.exists(sqlite_path(str(config.storage)))
    if scheme in EMBEDDED:
        return False
    with open_schema(config) as schema:
        return schema.found() == 0


@contextmanager
def _opened(config: Config) -> Iterator[Storage]:
    """The storage alone; a file with all that is in it."""
    embedded = config.storage == config.transport
    opened: Any = open_backend(config, "reader") if embedded else open_storage(config, "reader")
    try:
        yield opened.storage if embedded else opened
    finally:
        opened.close()


def _skew(skew: int) -> Finding:
    if abs(skew) < SKEW:
        return Finding("good", f"its clock is this machine's, within {max(abs(skew) // 1000, 1)} ms")
    way = "ahead of" if skew > 0 else "behind"
    return Finding(
        "warning",
        f"its clock is {abs(skew) / 1e6:.1f} s {way} this machine's",
        "Timers go by the storage's clock. Have both machines keep time by NTP.",
    )


def _rights(storage: Storage) -> Iterator[Finding]:
    """That timers may be claimed takes the rights that a worker needs to read and write."""
    storage.claim_due_timers(["infinitic.doctor"], 0, 1, 1)
    yield Finding("good", "may be read and written")


def _of_transport(config: Config, found: Any) -> Iterator[Finding]:
    transport = open_transport(config)
    try:
        yield from advise("pulsar", transport.server_settings())
        yield from _of_topics(transport, topics_of(found) if found is not None else ())
    finally:
        transport.close()


def _of_topics(transport: Transport, topics: Iterable[str]) -> Iterator[Finding]:
    listed = list(topics)
    for topic, traffic in zip(listed, transport.traffic(listed), strict=True):
        if traffic is None:
            continue
        if topic.endswith(":dead"):
            if traffic.waiting:
                yield Finding("warning", f"{topic}: {traffic.waiting} were refused", "Each says why in `reason`.")
        elif traffic.consumers:
            yield Finding("good", f"{topic}: {counted(traffic.consumers, 'consumer')}, {traffic.waiting} waiting")
        else:
            level: Level = "warning" if traffic.waiting else "good"
            advice = "Start a worker for it." if traffic.waiting else ""
            yield Finding(level, f"{topic}: nobody serves it just now, {traffic.waiting} waiting", advice)


def _print(place: str, findings: Iterable[Finding]) -> None:
    output().print(place, style="bold", soft_wrap=True)
    for one in findings:
        mark, style = MARKS[one.level]
        line = Text.assemble("  ", (mark, style), " ", one.what, (f". {one.advice}" if one.advice else "", "dim"))
        put(line)


def _as_data(told: dict[str, list[Finding]]) -> Any:
    return {
        place: [{"level": one.level, "what": one.what, "advice": one.advice} for one in findings]
        for place, findings in told.items()
    }
