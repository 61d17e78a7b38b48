"""Workflow code that does what it must not do, each line with what is said of it; and code that is beyond reproach."""

import dataclasses
import datetime
import decimal
import enum
import json
import logging
import os
import random
import re
import secrets
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic

from dsl import Flow, compensations, dispatch, gather, inline, logger, now, race, sleep, task, uuid4, workflow
from dsl import random as chance

log = logging.getLogger("mine")


@task
def step(name: object) -> object:
    """Anything."""


SOCKET = "/nowhere"


def connected(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(address)


# each is called in workflow code, by code of the user's own, with what is said of it
DEEDS: list[tuple[str, Callable[[], object]]] = [
    ("reads a clock", lambda: [time.time()]),
    ("reads a clock", lambda: [time.monotonic_ns()]),
    ("reads a clock", lambda: datetime.datetime.now(datetime.UTC)),
    ("reads a clock", lambda: [datetime.date.today()]),  # noqa: DTZ011  # it is what is found
    ("takes a random number", lambda: [random.random()]),
    ("takes a random number", lambda: random.randint(1, 6)),
    ("takes a random number", lambda: random.shuffle([1, 2])),
    ("takes a random number", lambda: [random.Random()]),
    ("takes a random number", lambda: random.SystemRandom().random()),
    ("takes a random number", lambda: [uuid.uuid4()]),
    ("takes a random number", lambda: os.urandom(4)),
    ("takes a random number", lambda: [secrets.token_hex()]),
    (f"opens {os.devnull!r}", lambda: open(os.devnull).close()),
    (f"opens {os.devnull!r}", lambda: Path(os.devnull).read_bytes()),
    ("calls os.listdir('.')", lambda: os.listdir(".")),
    ("calls os.mkdir('/dev/null/x')", lambda: os.mkdir("/dev/null/x")),
    ("connects to '/nowhere'", lambda: connected(SOCKET)),
    ("looks up '127.0.0.1'", lambda: socket.getaddrinfo("127.0.0.1", 1)),
    ("starts the process ['true']", lambda: subprocess.run(["true"], check=True)),
    ("opens the database ':memory:'", lambda: sqlite3.connect(":memory:").close()),
    ("sleeps", lambda: time.sleep(0)),
    ("starts a thread", lambda: threading.Thread(target=int).start()),
]
TOLD: list[tuple[str, Callable[[], object]]] = [
    ("prints, again on every replay,", lambda: print(end="")),  # noqa: T201  # it is what is found
    ("logs, again on every replay,", lambda: log.warning("hello")),
]


PACKAGE = """
import os, socket, time

def reads():
    open(os.devnull).close()
    return time.time()

def writes():
    open(os.devnull, "w").close()

def connects():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("/nowhere")
"""
package: dict[str, Any] = {"__name__": "package"}
exec(compile(PACKAGE, "/lib/site-packages/package.py", "exec"), package)


def imports() -> None:
    """Imports what nobody has imported before."""
    import this_is_nowhere  # noqa: F401  # type: ignore[import-not-found]


@workflow
def doing(deed: Any) -> Flow[None]:
    with suppress(Exception):
        deed()
    yield from sleep(5)


@dataclasses.dataclass
class Data:
    number: int


@attrs.frozen
class Attrs:
    number: int
    others: list[int] = attrs.Factory(list)


class Model(pydantic.BaseModel):
    number: int
    at: datetime.datetime


class Struct(msgspec.Struct):
    number: int


class Colour(enum.Enum):
    RED = "red"


def everything() -> float:
    """What an inline function may do."""
    time.sleep(0)
    Path(os.devnull).read_bytes()
    print(end="")  # noqa: T201  # which an inline function may
    return random.random() + time.time()


def loaded(data: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found


@workflow
def blameless(data: Data, model: Model, colour: Colour) -> Flow[str]:
    logger.info("%s %s", f"{data} {decimal.Decimal('1.50') * 2}", colour)
    there = model.at.astimezone(ZoneInfo("Europe/Oslo")) + datetime.timedelta(days=3)
    datetime.datetime.strptime("2030-01-01", "%Y-%m-%d").replace(tzinfo=datetime.UTC)
    found = loaded(json.dumps({"word": re.sub("a+", "b", "caat"), "number": model.number}))
    seeded = random.Random(5)
    found["chance"] = [seeded.random(), seeded.randint(1, 6), *seeded.sample(range(9), 2)]
    Model.model_validate(model.model_dump())
    msgspec.json.decode(b'{"number":1}', type=Struct)
    attrs.evolve(Attrs(1), number=len(sorted([3, 1, 2], key=lambda one: -one)))
    found["own"] = [now().year, str(uuid4()), chance(), chance.randint(1, 6)]
    (yield from inline(everything))
    dispatch(inline(everything))
    later = step("later").options(timeout=5)
    yield from gather(step("a") & step("b"), step("c") | sleep(5), sleep(0))
    with compensations() as undo:
        undo(step("undone"))
        yield from race(a=step("d"), b=sleep(5))
    yield from later
    return f"{there} {found}"


@workflow
def plain(name: str) -> Flow[object]:
    return (yield from step(name))


counted = iter(range(1_000))


@workflow
def counting() -> Flow[None]:
    yield from step("first")
    yield from step(next(counted))


@workflow
def forgetful() -> Flow[None]:
    answer = step("a")
    if answer != "yes":
        yield from step("b")


@workflow
def thrifty(late: bool) -> Flow[None]:
    kept = step("kept")
    yield from step("first")
    if late:
        yield from kept
    else:
        yield kept
