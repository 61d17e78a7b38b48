"""A file for each test, and the backends that a test opens on it."""

from contextlib import ExitStack, closing

import pytest

from infinitic.backends.sqlite import SqliteBackend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "infinitic.db"


@pytest.fixture
def opened(path):
    """Opens one more backend on the same file, as another worker or client would."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(SqliteBackend.open(path, **options)))


@pytest.fixture
def backend(opened):
    return opened()
