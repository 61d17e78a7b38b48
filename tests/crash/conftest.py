"""One SQLite file, worker processes on it, and clients beside them. How soon the dead were missed is told last."""

import statistics
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from infinitic.backends.urls import open_backend
from infinitic.client import Client
from tests.crash.errands import Clients
from tests.crash.given import Fleet
from tests.crash.nursery import Nursery
from tests.notes import noted


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crash.db"


@pytest.fixture
def fleet(path, tmp_path):
    made = Fleet(f"sqlite:///{path}", tmp_path / "workers.log")
    yield made
    made.close()


@pytest.fixture
def client(path):
    with Client(f"sqlite:///{path}") as made:
        yield made


@pytest.fixture
def storage(path):
    backend = open_backend(f"sqlite:///{path}", "reader")
    yield backend.storage
    backend.close()


@pytest.fixture
def nurseries(tmp_path):
    """`nurseries(count)`: places where lives begin."""
    with ExitStack() as stack:
        yield lambda count: [
            stack.enter_context(closing(Nursery(tmp_path / f"nursery-{number}"))) for number in range(count)
        ]


@pytest.fixture
def clients(path, tmp_path):
    folder = tmp_path / "errands"
    folder.mkdir()
    with closing(Clients(path, folder)) as made:
        yield made


@pytest.fixture
def takeovers(request):
    """Seconds from a death until another worker went on with what the dead one had."""
    took = []
    request.node.user_properties.append(("takeovers", took))
    return took


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    took = [one for some in noted("takeovers", terminalreporter) for one in some]
    if took:
        middle, most = statistics.median(took), max(took)
        terminalreporter.write_line(
            f"takeover after SIGKILL: median {middle:.2f} s, max {most:.2f} s of {len(took)} instances (target 1.5 s)"
        )
