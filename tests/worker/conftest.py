"""A town of conductors, each driven by hand."""

import gc

import pytest

from tests.worker.given import Deaf, Town


@pytest.fixture
def town():
    Deaf.deaf = 0
    yield Town()
    gc.collect()  # so that what a forgotten generator does in its cleanup is this test's, not the next one's
