"""Towns over real servers, and what there was to count: it is printed last."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.distributed.given import Crowd, Town
from tests.distributed.ledger import Account
from tests.notes import noted
from tests.scenarios.places import PLACES, Place
from tests.servers.found import private, server
from tests.servers.pulsar import Pulsar


@pytest.fixture
def place_of(tmp_path) -> Iterator[Callable[[str], Place]]:
    """`place_of("redis")`: an empty place over the servers that all tests share."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(PLACES[f"pulsar+{name}"](tmp_path))


@pytest.fixture
def pulsar_url() -> str:
    return server("pulsar")


@pytest.fixture(scope="module")
def broker() -> Iterator[Pulsar]:
    """One that nobody else uses, so that it can be killed; it misses a consumer that is silent for some seconds.

    It does not outlive its module: one that was killed takes a whole core from then on, fighting for locks of its own.
    """
    with private(Pulsar, settings={"keepAliveIntervalSeconds": 2}) as own:
        yield own


@pytest.fixture
def town_at(tmp_path) -> Iterator[Callable[[Place], Town]]:
    with ExitStack() as stack:
        yield lambda place: stack.enter_context(closing(Town(place, tmp_path / "town")))


@pytest.fixture
def crowd_at() -> Iterator[Callable[..., Crowd]]:
    with ExitStack() as stack:
        yield lambda *settings: stack.enter_context(closing(Crowd(*settings)))


@pytest.fixture
def tell(request) -> Callable[[str], None]:
    """Have a line printed at the end of the run."""
    return lambda line: request.node.user_properties.append(("told", line))


@pytest.fixture
def tell_repeats(request, tell) -> Callable[[int, Account], Counter[str]]:
    """Print how many attempts of tasks ran twice, and why: that is what it gives. Raises `Unexplained`."""

    def told(instances: int, account: Account) -> Counter[str]:
        reasons = account.repeats()
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
        name = request.node.name.removeprefix("test_")
        tell(f"{name}: {instances} instances, {account.tasks} attempts of tasks, ran again: {why}")
        return reasons

    return told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in noted("told", terminalreporter):
        terminalreporter.write_line(line)
