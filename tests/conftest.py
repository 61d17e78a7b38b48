"""How much the tests run, and what they went without.

`--proof` raises the counts, and runs the tests marked `proof` as well.
"""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.found import went_without

# In CI the same examples on each run: a failure there is one of the change, not of the day.
DETERMINISTIC = bool(os.environ.get("CI"))

settings.register_profile("normal", max_examples=100, deadline=None, derandomize=DETERMINISTIC)
settings.register_profile(
    "proof",
    max_examples=10_000,
    deadline=None,
    derandomize=DETERMINISTIC,
    suppress_health_check=[HealthCheck.too_slow],
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proof", action="store_true", help="run the long proofs, with high counts")
    parser.addoption("--seeds", type=int, help="how many worlds to simulate")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("proof" if config.getoption("--proof") else "normal")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--proof"):
        return
    proofs = [item for item in items if item.get_closest_marker("proof")]
    if proofs:
        config.hook.pytest_deselected(items=proofs)
        items[:] = [item for item in items if item not in proofs]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [(report.nodeid, report.longrepr[2]) for report in terminalreporter.getreports("skipped")]
    lines = went_without(skipped)
    if lines:
        terminalreporter.section("servers that were missing", bold=True, red=True)
        for line in lines:
            terminalreporter.line(line, red=True)


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`count(normal, proof)`: how many rounds a test makes, on each change and in `make proof`."""
    proving = bool(request.config.getoption("--proof"))
    return lambda normal, proof: proof if proving else normal
