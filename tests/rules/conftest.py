"""A town of conductors, each driven by hand."""

import pytest

from tests.worker.given import Deaf, Town


@pytest.fixture
def town():
    Deaf.deaf = 0
    return Town()
