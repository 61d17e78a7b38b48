"""What cannot be used is refused in one line that says what to do; what can be is shared by all."""

import os
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from infinitic import sqlite_file
from infinitic.errors import Bug, ConfigurationError, StorageError, TransportError
from infinitic.sqlite_file import APPLICATION, MIGRATIONS, SqliteFile
from infinitic.sqlite_file.trouble import GIVE_ACCESS, file_system, refuse_network, refuse_platform
from tests.sqlite.given import actor, actors, event, mounted


def refused(path, **options):
    """What opening *path* says."""
    with pytest.raises(StorageError) as caught:
        SqliteFile(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def foreign(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
    return path


def test_a_database_of_another_program_is_refused_and_left_as_it_is(path):
    foreign(path, "PRAGMA application_id = 7", "CREATE TABLE songs (name)")
    before = path.read_bytes()

    assert refused(path) == f"{path} is a database of another program. Name another file."
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_database_that_says_nothing_of_its_program_is_refused_too(path):
    foreign(path, "CREATE TABLE songs (name)")
    assert refused(path) == f"{path} is a database of another program. Name another file."


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path):
    path.write_text("Dear diary, " * 100)
    hint = "Name another file, or remove this one if nobody needs it."

    assert refused(path) == f"{path} is not a SQLite database. {hint}"
    assert path.read_text() == "Dear diary, " * 100
    assert list(path.parent.iterdir()) == [path]


def test_a_newer_schema_is_refused(path):
    newer = len(MIGRATIONS) + 1
    foreign(path, f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {newer}")
    assert refused(path) == (
        f"{path} has schema version {newer}, and this release knows up to {len(MIGRATIONS)}. "
        "Run the newer release of infinitic that wrote it, or name another file."
    )


def test_an_empty_file_is_ours_to_use(path):
    path.touch()
    with closing(SqliteFile(path)), closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION,)


def test_folders_are_made(path):
    deep = path.parent / "a" / "b" / "infinitic.db"
    with closing(SqliteFile(deep)):
        assert deep.exists()


def test_a_folder_cannot_be_the_file(path):
    path.mkdir()
    assert refused(path) == f"{path} is a folder. Name a file, which need not exist yet."


def test_a_folder_that_is_a_file_is_refused(path):
    path.write_text("")
    inside = path / "infinitic.db"
    assert refused(inside).startswith(f"{inside} cannot be used (File exists). ")


def test_a_read_only_folder_is_refused(tmp_path):
    path = tmp_path / "infinitic.db"
    with mounted(tmp_path, "size=2m"):
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        assert refused(path) == f"{tmp_path} cannot be written by this user. {GIVE_ACCESS}"


@contextmanager
def plain_user():
    """Root, who may write everything, is somebody else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def test_a_read_only_file_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "infinitic.db"
        SqliteFile(path).close()
        for one in (Path(folder), *Path(folder).iterdir()):
            one.chmod(0o777)
        path.chmod(0o444)
        with plain_user():
            assert refused(path) == f"{path} cannot be written by this user. {GIVE_ACCESS}"


def test_a_full_disk_is_told_and_nothing_of_the_step_is_written(tmp_path):
    path = tmp_path / "infinitic.db"
    with mounted(tmp_path, "size=1m"), closing(SqliteFile(path)) as file:
        add = "INSERT INTO dead (topic, key, body, reason, at) VALUES ('', '', zeroblob(?), '', 0)"
        with file.transaction() as db:
            db.execute(add, (10,))
        with pytest.raises(StorageError) as caught, file.transaction() as db:
            db.executemany(add, [(10,), (2_000_000,)])
        hint = "Free some space: nothing of the last step was written."
        assert str(caught.value) == f"the disk that holds {path} is full. {hint}"
        with file.transaction() as db:
            assert db.execute("SELECT count(*) FROM dead").fetchone() == (1,)


def test_a_file_that_another_program_keeps_locked_is_told(path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.01)
    with closing(SqliteFile(path)) as file, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransportError) as caught, file.transaction(kind=TransportError):
            pass
        assert str(caught.value) == (
            f"{path} has been locked by another program for more than 5 s. "
            "Close the tool that writes to it (a database browser, a backup), then try again."
        )
        other.execute("ROLLBACK")
        with file.transaction():
            pass


def test_a_file_that_was_moved_away_is_told(path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "LOOK", 0.0)
    with closing(SqliteFile(path)) as file:
        path.rename(path.with_name("other.db"))
        with pytest.raises(StorageError) as caught, file.transaction():
            pass
        assert str(caught.value) == (
            f"{path} was moved or deleted while it was open. "
            "Stop all workers and clients before you move, delete or restore it."
        )
        path.with_name("other.db").rename(path)
        with file.transaction():
            pass


MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/export /mnt/share nfs4 rw,vers=4.2 0 0
//server/docs /mnt/my\\040docs cifs rw 0 0
user@host: /mnt/share/local/remote fuse.sshfs rw 0 0
tmpfs /mnt/share/local tmpfs rw 0 0
drive /mnt/c 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "system"),
    [
        ("/home/infinitic.db", "ext4"),
        ("/mnt/shared/infinitic.db", "ext4"),
        ("/mnt/share/infinitic.db", "nfs4"),
        ("/mnt/share/local/infinitic.db", "tmpfs"),
        ("/mnt/share/local/remote/infinitic.db", "fuse.sshfs"),
        ("/mnt/my docs/a/infinitic.db", "cifs"),
        ("/mnt/c/infinitic.db", "9p"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(path, system):
    assert file_system(Path(path), MOUNTS) == system


def test_a_network_file_system_is_refused():
    with pytest.raises(StorageError) as caught:
        refuse_network(Path("/mnt/share/infinitic.db"), MOUNTS)
    assert str(caught.value) == (
        "/mnt/share/infinitic.db lies on a network file system (nfs4), where locks cannot be trusted. "
        "Name a file on a local disk, or use a server: redis://, mysql://, postgresql://."
    )
    refuse_network(Path("/mnt/share/local/infinitic.db"), MOUNTS)
    refuse_network(Path("/anywhere"), "")


def test_windows_is_refused():
    with pytest.raises(StorageError, match="does not run on Windows"):
        refuse_platform("win32", (3, 45, 0))


def test_a_sqlite_that_is_too_old_is_refused():
    with pytest.raises(StorageError, match=r"SQLite 3\.34\.1, and 3\.35\.0 or newer is needed"):
        refuse_platform("linux", (3, 34, 1))


def test_an_unknown_durability_is_refused(path):
    with pytest.raises(ConfigurationError) as caught:
        SqliteFile(path, durability="none")
    assert str(caught.value) == "durability is 'none'. It can be 'full' or 'normal'."


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_a_durable_transaction_waits_for_the_disk_unless_the_option_says_otherwise(path, durability, synchronous):
    with closing(SqliteFile(path, durability=durability)) as file:
        with file.transaction() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        with file.transaction(durable=False) as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_an_error_inside_rolls_back_and_passes_through(path):
    with closing(SqliteFile(path)) as file:
        with pytest.raises(KeyError), file.transaction() as db:
            raise KeyError(db.execute("DROP TABLE dead"))
        with file.reading() as db:
            assert db.execute("SELECT count(*) FROM dead").fetchone() == (0,)


def test_a_statement_that_is_wrong_is_our_bug(path):
    with (
        closing(SqliteFile(path)) as file,
        pytest.raises(Bug, match="no such table: nowhere"),
        file.transaction() as db,
    ):
        db.execute("SELECT * FROM nowhere")


def test_a_checkpoint_empties_the_log(path):
    with closing(SqliteFile(path)) as file:
        assert path.with_name("infinitic.db-wal").stat().st_size > 0
        file.checkpoint()
        assert path.with_name("infinitic.db-wal").stat().st_size == 0


OPENING = """
say("here")
hear()
backend = SqliteBackend.open(path)
backend.transport.publish([event(sys.argv[2])])
say("sent")
hear()
backend.close()
"""


def test_many_processes_may_open_a_new_file_at_once(path, opened):
    with actors(path, OPENING, *range(6)) as others:
        for other in others:
            assert other.heard() == "here"
        for other in others:
            other.tell()
        for other in others:
            assert other.heard() == "sent"
        with opened()._file.reading() as db:
            assert db.execute("SELECT count(*) FROM messages").fetchone() == (6,)
        for other in others:
            other.tell()
            other.done()


def test_the_file_is_found_again_after_a_change_of_directory(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with closing(SqliteFile("infinitic.db")) as file:
        monkeypatch.chdir("/")
        assert file.path == path
        with file.transaction():
            pass


COMMITTED = """
backend = SqliteBackend.open(path)
backend.transport.publish([event("kept")])
say("sent")
hear()
"""


def test_what_was_published_outlives_its_publisher(path, opened):
    with actor(path, COMMITTED) as other:
        assert other.heard() == "sent"
        other.kill()
    assert event("kept").message.id in [
        delivery.message.id for delivery in opened().transport.subscribe([event().topic], int).receive(5)
    ]
