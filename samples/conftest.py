"""Where the samples' tests run: at every pair of a transport and a storage that the scenarios run at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.places import PLACES, Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """What names the backend, for `Worker` and `Client`."""
    with PLACES[request.param](tmp_path) as names:
        yield names
