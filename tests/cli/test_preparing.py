"""`topics` and `storage`: what operators make before the workers come."""

import uuid

import pytest

from tests.servers.found import server
from tests.storages import on_redis


def test_the_commands_make_all_that_a_module_needs(bare):
    told = bare("topics", "trips", "--transport", "pulsar://h:6650/shop/prod?partitions=3")

    lines = told.out.splitlines()
    assert told.code == 0
    assert "pulsar-admin topics create-partitioned-topic -p 3 persistent://shop/prod/workflow:trip" in lines
    assert (
        "pulsar-admin topics create-subscription -s infinitic -m earliest persistent://shop/prod/workflow:trip" in lines
    )
    assert "pulsar-admin topics create-partitioned-topic -p 1 persistent://shop/prod/service:Hotels:dead" in lines
    assert any(line.endswith("workflow:infinitic.router") for line in lines)
    assert any(line.endswith("workflow:infinitic.task") for line in lines)
    assert len(lines) == len({*lines})


def test_where_there_are_no_topics_to_make_that_is_said(bare):
    told = bare("topics", "trips", "--url", "sqlite:///x.db")

    assert (told.code, told.line) == (3, "sqlite:///x.db has no topics to make. Give --transport pulsar://….")


@pytest.fixture
def storage(monkeypatch):
    """The URL of a storage whose namespace has no schema yet."""
    url, namespace = server("redis"), f"test-{uuid.uuid4().hex}"
    monkeypatch.setenv("INFINITIC_NAMESPACE", namespace)
    monkeypatch.setenv("INFINITIC_TRANSPORT", "pulsar://127.0.0.1:1")
    yield url
    on_redis.delete(url, namespace)


def test_a_storage_is_made_once_and_says_how_it_stands(bare, storage):
    before = bare("storage", "status", "--storage", storage)
    made = bare("storage", "init", "--storage", storage)
    again = bare("storage", "init", "--storage", storage)
    upgraded = bare("storage", "upgrade", "--storage", storage)

    assert [one.code for one in (before, made, again, upgraded)] == [0, 0, 0, 0]
    assert before.out == f"{storage}: no schema yet; `infinitic storage init` makes 2\n"
    assert made.out == f"{storage}: made schema 2\n"
    assert again.out == upgraded.out == f"{storage}: schema 2, which is what this release needs\n"


def test_without_a_storage_that_is_said(bare, monkeypatch):
    monkeypatch.setenv("INFINITIC_TRANSPORT", "pulsar://127.0.0.1:1")
    told = bare("storage", "status")

    assert (told.code, "none is configured" in told.line) == (3, True)


def test_a_file_needs_no_making(bare):
    told = bare("storage", "init", "--url", "sqlite:///x.db")

    assert (told.code, told.line) == (
        3,
        "sqlite:///x.db sees to its schema by itself. Name a storage on a server.",
    )
