"""What the memory storage does beyond the protocol: it tells a wrong writer, and it has handles."""

import pytest

from infinitic.errors import Bug, StorageError
from infinitic.records import Filter, Version
from infinitic.storages.memory import MemoryStorage
from tests.storages.given import after, record, start, turns, write


def test_a_gap_between_turns_is_a_bug_of_the_writer():
    storage = MemoryStorage()
    first = start(count=2)
    write(storage, first)

    with pytest.raises(Bug, match="turn 3 does not follow 2 turns"):
        storage.append([after(first, turns=turns(1, first=3), version=Version("r1", 3))])
    with pytest.raises(Bug, match="does not count the turns"):
        storage.append([after(first, 1, version=Version("r1", 4))])

    assert storage.history("trip-1", "r1") == turns(2)


def test_an_instance_without_a_record_is_a_bug_of_the_writer():
    storage = MemoryStorage()

    with pytest.raises(Bug, match="without a state record"):
        storage.append([start(record=None)])

    assert storage.load("trip-1") is None


def test_what_the_writer_changes_later_is_not_what_was_kept():
    storage = MemoryStorage()
    meta = {"who": "ann"}
    write(storage, start(record=record(meta=meta)))
    meta["who"] = "bob"

    assert storage.records(["trip-1"]) == [record(meta={"who": "ann"})]


def test_handles_share_their_instances_and_close_alone():
    storage = MemoryStorage()
    other = storage.another()
    write(storage, start())
    storage.close()

    assert other.history("trip-1", "r1") == turns(1)
    with pytest.raises(StorageError, match="after it was closed"):
        storage.load("trip-1")


def test_a_handle_of_a_closed_handle_is_open():
    storage = MemoryStorage()
    storage.close()

    assert storage.another().count(Filter()) == 0


def test_a_place_in_a_list_that_no_page_gave_is_refused():
    with pytest.raises(StorageError, match="'nonsense' is no place in a list"):
        MemoryStorage().find(Filter(), 10, "nonsense")
