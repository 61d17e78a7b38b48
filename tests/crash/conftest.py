"""One SQLite file, worker processes on it, and a client beside them."""

from pathlib import Path

import pytest

from infinitic.backends.urls import open_backend
from infinitic.client import Client
from tests.crash.given import Fleet


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
