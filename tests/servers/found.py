"""Which real servers there are for the tests: `make servers` and `make test` name them in the environment."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

import pytest

from tests.servers import Server

VARIABLES = {
    "pulsar": "TEST_PULSAR_URL",
    "redis": "TEST_REDIS_URL",
    "mysql": "TEST_MYSQL_URL",
    "mariadb": "TEST_MARIADB_URL",
    "postgres": "TEST_POSTGRES_URL",
}
"""Server → the variable that holds its URL; Pulsar's names its admin URL too."""

REASONS = {name: f"TEST_{name.upper()}_MISSING" for name in VARIABLES}
"""Server → the variable that says why it is not there."""

DISPENSABLE = frozenset({"mysql"})
"""What CI may go without: MySQL comes from Debian's unstable, which changes from day to day."""

AnyServer = TypeVar("AnyServer", bound=Server)


def server(name: str) -> str:
    """The URL of a server. Without it the test is skipped, with the reason; in CI it fails."""
    url = os.environ.get(VARIABLES[name], "")
    if not url:
        why = os.environ.get(REASONS[name])
        _go_without(name, why or f"{VARIABLES[name]} is not set (make test sets it, where it can start the server)")
    return url


def private(kind: type[AnyServer], **settings: Any) -> AnyServer:
    """A server of the test's own, for `with`. Where it cannot start, the test is skipped; in CI it fails."""
    why = kind.missing()
    if why:
        _go_without(kind.name, why)
    return kind(**settings)


def _go_without(name: str, why: str) -> NoReturn:
    reason = f"no {name}: {why}"
    if os.environ.get("CI") and name not in DISPENSABLE:
        pytest.fail(reason)
    pytest.skip(reason)


def went_without(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """A line a missing server: how many tests were skipped for it, and where. *skipped* are tests and reasons."""
    counts = Counter[tuple[str, str]]()
    for test, reason in skipped:
        missing = reason.removeprefix("Skipped: ")
        if missing.startswith(tuple(f"no {name}: " for name in VARIABLES)):
            counts[missing, str(PurePosixPath(test.partition("::")[0]).parent)] += 1
    return [
        f"{missing} – skipped {count} test{'s' * (count > 1)} in {suite}"
        for (missing, suite), count in sorted(counts.items())
    ]
