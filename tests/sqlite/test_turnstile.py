"""One writer at a time, first come first served, and never a lock that outlives its process."""

import os
import signal
import threading
import time

import pytest

from infinitic.errors import Bug, StorageError
from infinitic.sqlite_file import SqliteFile
from infinitic.sqlite_file.turnstile import FairLock, Turnstile
from tests.sqlite.given import DEADLINE, actor, actors


def wait_until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


def test_threads_get_the_lock_in_the_order_in_which_they_came():
    lock, order = FairLock(), list[int]()

    def come(number):
        lock.acquire()
        order.append(number)
        lock.release()

    lock.acquire()
    threads = [threading.Thread(target=come, args=(number,)) for number in range(20)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda: len(lock._waiting) == number)  # noqa: B023  # called before the next round
    lock.release()
    for thread in threads:
        thread.join(DEADLINE)

    assert order == list(range(20))


def test_who_gives_up_waiting_is_passed_over():
    lock = FairLock()

    class GaveUp(BaseException):
        pass

    def give_up(*_):
        raise GaveUp

    def interrupt():
        wait_until(lambda: lock._waiting)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, give_up)
    try:
        lock.acquire()
        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(GaveUp):
            lock.acquire()
        other.join(DEADLINE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    lock.release()
    lock.acquire()
    lock.release()


def test_a_thread_that_is_inside_is_refused_instead_of_waiting_for_itself(tmp_path):
    turnstile = Turnstile(tmp_path / "lock")
    with turnstile, pytest.raises(Bug), turnstile:
        pass
    with turnstile:
        pass
    os.close(turnstile.descriptor)


COMMITTING = """
file, count = SqliteFile(path), 0
say("open")
hear()
while True:
    with file.transaction() as db:
        if db.execute("SELECT count(*) FROM dead WHERE reason = 'stop'").fetchone()[0]:
            break
        add = "INSERT INTO dead (topic, key, body, reason, at) VALUES (?, '', '', '', 0)"
        db.execute(add, (sys.argv[2],))
"""


def test_no_process_starves_where_several_write_all_the_time(path):
    def shares():
        with file.reading() as db:
            return dict(db.execute("SELECT topic, count(*) FROM dead WHERE reason = '' GROUP BY topic"))

    file = SqliteFile(path)
    with actors(path, COMMITTING, "a", "b", "c") as writers:
        for writer in writers:
            assert writer.heard() == "open"
        for writer in writers:
            writer.tell()
        wait_until(lambda: sum(shares().values()) >= 1500)
        with file.transaction() as db:
            db.execute("INSERT INTO dead (topic, key, body, reason, at) VALUES ('', '', '', 'stop', 0)")
        for writer in writers:
            writer.done()
        assert sorted(shares()) == ["a", "b", "c"]
        # who waits is woken late where all cores are busy; without the turnstile one of them has nearly nothing
        assert min(shares().values()) * 100 > max(shares().values())
    file.close()


INSIDE = """
file = SqliteFile(path)
with file.transaction() as db:
    db.execute("INSERT INTO dead (topic, key, body, reason, at) VALUES ('', '', '', 'half done', 0)")
    say("inside")
    hear()
"""


def test_a_process_that_dies_inside_leaves_the_turnstile_free_and_nothing_half_done(path):
    with actor(path, INSIDE) as other:
        assert other.heard() == "inside"
        other.kill()
        file = SqliteFile(path)
        with file.transaction() as db:
            assert db.execute("SELECT count(*) FROM dead").fetchone() == (0,)
        file.close()


FORKED = """
file = SqliteFile(path)
with file.transaction() as db:
    child = os.fork()
    if child == 0:
        os.close(1)
        sys.stdin.readline()  # until the test ends
        os._exit(0)
    say(child)
    threading.Event().wait()
"""


def test_a_fork_of_a_killed_process_does_not_keep_the_turnstile(path):
    with actor(path, FORKED) as other:
        child = int(other.heard())
        other.kill()
        os.kill(child, 0)  # it lives
        file = SqliteFile(path)
        with file.transaction():
            pass
        file.close()
        os.kill(child, 0)  # still


IN_A_FORK = """
from infinitic.errors import StorageError
file = SqliteFile(path)
if os.fork() == 0:
    try:
        with file.transaction():
            pass
    except StorageError as error:
        say(error)
    os._exit(0)
os.wait()
with file.transaction():
    say("fine")
"""


def test_a_fork_cannot_use_what_its_parent_opened(path):
    with actor(path, IN_A_FORK) as other:
        assert other.heard() == f"{path} was opened before this process was forked. Open it anew."
        assert other.heard() == "fine"


def test_the_last_user_closes(path):
    file = SqliteFile(path)
    file.share()
    file.share()
    file.close()
    with file.transaction():
        pass
    file.close()
    with pytest.raises(StorageError) as caught, file.transaction():
        pass
    assert str(caught.value) == f"{path} is closed. Open it anew."
    assert not path.with_name("infinitic.db-wal").exists()
