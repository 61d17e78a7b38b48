"""The disk is full, the file cannot be written, another program keeps it locked: it is said, and then all goes on."""

import os
import resource
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from infinitic.errors import StorageError, TransportError
from infinitic.sqlite_file.trouble import GIVE_ACCESS
from tests.crash.errands import USUAL, Clients
from tests.crash.given import PATIENCE, until
from tests.crash.nursery import Nursery, Order, end_well
from tests.crash.town import journey, ticking
from tests.sqlite.given import Actor, mounted

NOBODY = 65534
STEPS = 60
BLOCK = 64 * 1024


@contextmanager
def town(folder, **options):
    """Two workers over a file in *folder*, with work for a second or two; all else lies elsewhere."""
    path = folder / "crash.db"
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        closing(Clients(path, Path(elsewhere))) as clients,
        closing(Nursery(Path(elsewhere) / "1")) as one,
        closing(Nursery(Path(elsewhere) / "2")) as other,
    ):
        places = [one, other]
        for place in places:
            place.begin(Order("serve", str(path), **options))
        until(lambda: all(place.is_serving() for place in places), "both to serve")
        handles = [clients.client.start(ticking(STEPS)) for _ in range(20)]
        yield clients, places
        assert [handle.result(PATIENCE) for handle in handles] == [STEPS] * len(handles)
        clients.calm_down()
        clients.begin(USUAL)
        end_well(places, clients)


def until_told(clients, places, words):
    """Have the workers do something until each has said this; none of them dies of it."""

    def is_told():
        with suppress(StorageError, TransportError):
            clients.client.start(journey(2))
        assert not any(place.is_over() for place in places)
        return all(words in place.log for place in places)

    until(is_told, f"both to say: {words}")


def until_refused(clients):
    """What a client is told, as soon as it cannot start anything."""
    told = []

    def is_refused():
        try:
            clients.client.start(journey(2), meta={"ballast": "x" * BLOCK})
        except TransportError as error:
            told.append(str(error))
        return bool(told)

    until(is_refused, "a start to be refused")
    return told[0]


def fill(filler):
    """Leave no room beside this file."""
    for size in (BLOCK, 512, 1):
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while file.write(b"x" * size) == size:
                pass


def test_a_full_disk_is_told_and_all_goes_on_when_there_is_room_again(tmp_path):
    with mounted(tmp_path, "size=32m"), town(tmp_path) as (clients, places):
        filler, path = tmp_path / "filler", tmp_path / "crash.db"
        words = f"the disk that holds {path} is full. Free some space: nothing of the last step was written."
        fill(filler)
        assert until_refused(clients) == words
        until_told(clients, places, words)
        filler.unlink()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit, to limit another process")
def test_a_file_that_may_not_grow_is_told_and_all_goes_on_when_it_may(tmp_path):
    with town(tmp_path) as (clients, places):
        before = {place.pid: resource.prlimit(place.pid, resource.RLIMIT_FSIZE) for place in places}
        for pid, (_, most) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (BLOCK, most))
        path = tmp_path / "crash.db"
        until_told(
            clients, places, f"{path} cannot be read or written (disk I/O error). Check the disk and its free space."
        )
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def unchangeable(*paths):
    """Files that nobody may write, not even who has them open, nor root."""
    asked = ["chattr", "+i", *map(str, paths)]
    if shutil.which("chattr") is None or subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("needs root and a file system that knows chattr +i")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *map(str, paths)], check=True)


def test_a_file_that_cannot_be_written_any_more_is_told_and_all_goes_on_when_it_can(tmp_path):
    with town(tmp_path) as (clients, places):
        path = tmp_path / "crash.db"
        with unchangeable(path, path.with_name("crash.db-wal")):
            assert str(path) in until_refused(clients)
            until_told(clients, places, str(path))


@pytest.fixture
def open_folder():
    """A folder that any user may write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder).resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_file_made_read_only_stops_nobody_who_has_it_open_and_refuses_who_comes(open_folder):
    path, serve = open_folder / "crash.db", Order("serve", str(open_folder / "crash.db"), user=NOBODY)
    with closing(Nursery(open_folder / "1")) as place, closing(Nursery(open_folder / "2")) as late:
        errands = open_folder / "errands"
        errands.mkdir()
        for folder in (place.folder, late.folder, errands):
            folder.chmod(0o777)
        place.begin(serve)
        until(place.is_serving, "it to serve")
        with closing(Clients(path, errands)) as clients:
            files = [one for one in open_folder.iterdir() if one.is_file()]
            for one in files:
                one.chmod(0o444)
            clients.calm_down()
            clients.begin(USUAL)
            assert late.run(serve) == 1
            assert f"{path} cannot be written by this user. {GIVE_ACCESS}" in late.log
            for one in files:
                one.chmod(0o666)
            late.begin(serve)
            end_well([place, late], clients)


HOLDING = """
import sqlite3
db = sqlite3.connect(path, isolation_level=None, timeout=60)
db.execute(sys.argv[2])
db.execute("SELECT count(*) FROM heads").fetchone()
say("held")
hear()
db.execute("ROLLBACK")
db.close()
say("free")
hear()
"""


@contextmanager
def foreign(path, statement):
    """Another program, in a transaction that began by this statement."""
    with closing(Actor(path, HOLDING, statement)) as other:
        assert other.heard() == "held"
        yield
        other.tell()
        assert other.heard() == "free"


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_lock_of_a_foreign_program_is_told_and_all_goes_on_when_it_is_gone(statement, tmp_path):
    with town(tmp_path, patience=0.3) as (_, places):
        path = tmp_path / "crash.db"
        with foreign(path, statement):
            words = f"{path} has been locked by another program for more than 5 s. Close the tool that writes to it"
            until(lambda: all(words in place.log for place in places), "both to say so")
            assert not any(place.is_over() for place in places)


def test_a_foreign_program_that_only_reads_holds_nobody_up(tmp_path):
    with town(tmp_path) as (clients, _):
        path = tmp_path / "crash.db"
        with foreign(path, "BEGIN"):
            for _ in range(5):
                clients.begin(USUAL)
            clients.calm_down()
            clients.finish()
