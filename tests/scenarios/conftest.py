"""Every backend that the scenarios run over, with real workers and clients. One more is a line in `places.PLACES`."""

import gc
import importlib.util
import sys
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from infinitic.client import Client
from infinitic.storages import Storage
from infinitic.worker import Worker
from tests.scenarios.given import Stage, open_at
from tests.scenarios.places import PLACES, PROVEN, Place


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.proof] * (name in PROVEN)) for name in PLACES])
def place(request, tmp_path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as names:
        yield names


@pytest.fixture
def stage(place) -> Iterator[Stage]:
    """Workers, a client and the storage over one backend; all are closed in the end."""
    with Stage(place) as made:
        yield made
    gc.collect()  # so that what a forgotten generator does in its cleanup is this test's, not the next one's


@pytest.fixture
def client(stage: Stage) -> Client:
    return stage.client


@pytest.fixture
def serve(stage: Stage) -> Callable[..., Worker]:
    """`serve(trip, charge, …)`: a worker for these workflows and services."""
    return stage.serve


@pytest.fixture
def storage(place) -> Iterator[Storage]:
    backend = open_at(place, "reader")
    yield backend.storage
    backend.close()


@pytest.fixture
def deploy(tmp_path) -> Iterator[Callable[..., Any]]:
    """`deploy(source)`: a module of this source, as a release of the user's code would bring it."""
    made: list[str] = []

    def load(source: str) -> ModuleType:
        name = f"release_{uuid.uuid4().hex}"
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in made:
        del sys.modules[name]
