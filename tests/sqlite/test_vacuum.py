"""Space that is not used any more goes back to the file system, beside others who have the file open."""

from infinitic.records import Filter
from tests.sqlite.given import TRIPS, actor, event
from tests.storages.given import loaded, start, turns, write

WRITING = """
backend = SqliteBackend.open(path)
say("open")
while hear() == "again":
    backend.transport.publish([event("e1")])
    say(backend.storage.load("kept").version.turns)
"""


def test_the_file_shrinks_while_other_processes_read_and_write(path, backend):
    storage = backend.storage
    write(storage, start("gone", count=20_000, expires=storage.now()), start("kept", count=3))
    storage.remove(storage.ended(Filter(), 1))
    with actor(path, WRITING) as other:
        assert other.heard() == "open"
        other.tell("again")
        assert other.heard() == "3"
        size = storage.compact()
        other.tell("again")
        assert other.heard() == "3"
        other.tell("done")
        other.done()

    assert size > 500_000
    assert path.stat().st_size < size
    assert loaded(storage, "kept").turns == turns(3)
    assert [traffic.waiting for traffic in backend.transport.traffic([TRIPS])] == [2]


def test_a_file_without_unused_space_stays_as_it_is(backend):
    backend.transport.publish([event("e1")])
    backend.storage.compact()

    assert backend.storage.compact() == 0
