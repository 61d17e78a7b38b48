"""How much the tests run: `--proof` raises the counts, and runs the tests marked `proof` as well."""

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def count(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`count(normal, proof)`: how many rounds a test makes, on each change and in `make proof`."""
    proving = bool(request.config.getoption("--proof"))
    return lambda normal, proof: proof if proving else normal
