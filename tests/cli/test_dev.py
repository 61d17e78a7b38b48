"""`infinitic dev`: serves a folder, starts anew with each change, says what the change does to what is open."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infinitic.cli.exits import INTERRUPTED, OK, USAGE

READY = "is at work; a change of a file starts it anew, Ctrl-C stops it"
STOPPING = "stopping: waiting for the tasks that run; once more to stop at once"
STEP = (
    "            self.points += extra\n",
    "            self.points += extra\n            yield from charge('x', 1)\n",
)
PAY = "    return (yield from pay(card))"
IO = f"    open('x', 'w').close()\n{PAY}"
BLOCKING = """
from infinitic import task, workflow

@task
def wait() -> str:
    open("begun", "w").close()
    return open("begun").read()

@workflow
def waiting():
    return (yield from wait())
"""


class Dev:
    """`infinitic dev` in a process of its own, and what it says, line by line."""

    def __init__(self, url: str, *args: str) -> None:
        command = [sys.executable, "-P", "-m", "infinitic", "dev", *args, "--url", url]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.said: list[str] = []

    def until(self, text: str) -> list[str]:
        """All lines from here to the first that holds *text*."""
        lines = []
        for line in self.process.stderr or ():
            lines.append(line.rstrip())
            if text in line:
                return lines
            if "waiting for a change" in line:
                break
        raise AssertionError(f"{text!r} was never said: {lines}")

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=60)
        self.said = rest.splitlines()
        return self.process.returncode


@pytest.fixture
def dev(url) -> Iterator[Callable[..., Dev]]:
    """Starts them, and ends those that are left: their workers with them."""
    started: list[Dev] = []

    def start(*args: str) -> Dev:
        started.append(Dev(url, *args))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def change(folder: Path, old: str, new: str) -> int:
    """Write *new* for *old*, all at once; the number of its line."""
    text = (folder / "trips.py").read_text()
    assert old in text
    (folder / "trips.new").write_text(text.replace(old, new))
    (folder / "trips.new").replace(folder / "trips.py")
    return text[: text.index(old)].count("\n") + 1


def test_a_folder_is_served_and_what_is_open_goes_on_with_changed_code(infinitic, folder, dev):
    one = dev(".")
    assert one.until(READY)[1].startswith("  workflows Loyalty (redeem, run), backup, branches")
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    infinitic("signal", "ada", "bonus", "5")
    change(folder, "self.points -= points", "self.points -= 2 * points")
    lines = one.until(READY)

    assert lines[:2] == ["trips.py changed", "✔ 1 instance replays as before"]
    assert infinitic("call", "ada", "redeem", "points=2").out == "true\n"
    assert infinitic("call", "ada", "balance", "--query").out == "1\n"
    assert (one.stop(), one.said) == (OK, [STOPPING, "stopped"])


def test_what_cannot_go_on_is_told_with_both_sides_and_goes_on_once_mended(infinitic, folder, dev):
    one = dev("trips.py")
    one.until(READY)
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    infinitic("signal", "ada", "bonus", "5")
    change(folder, *STEP)
    lines = one.until(READY)
    assert lines[1] == "✗ Loyalty: ada diverges · turn 1"
    assert '✗ m0.1 receive bonus.receive() │ m0.1 task    charge(card="x", cents=1)' in lines
    infinitic("signal", "ada", "bonus", "6")
    one.until("Loyalty ada is suspended: ")
    change(folder, STEP[1], STEP[0])
    assert one.until(READY)[:2] == ["trips.py changed", "✔ 1 instance replays as before"]

    assert infinitic("result", "ada", "--timeout", "60").out == "11\n"


def test_code_that_cannot_be_imported_is_told_and_waits_for_the_mend(infinitic, folder, dev):
    number = change(folder, "def dice()", "def (dice)")
    one = dev(".")
    lines = one.until("waiting for a change; Ctrl-C stops")
    assert f"trips.py:{number}: SyntaxError: " in lines[0]
    change(folder, "def (dice)", "def dice()")
    one.until(READY)

    assert infinitic("start", "payment", "card=visa", "--wait").out == "receipt for 500\n"
    assert one.stop(signal.SIGTERM) == OK


def test_a_new_file_is_served_too(infinitic, folder, dev):
    one = dev(".")
    one.until(READY)
    (folder / "more.py").write_text("from infinitic import workflow\n\n@workflow\ndef more() -> int:\n    return 7\n")
    lines = one.until(READY)

    assert lines[0] == "more.py changed"
    assert infinitic("start", "more", "--wait").out == "7\n"


def test_what_workflow_code_must_not_do_is_told_as_it_is_done(infinitic, folder, dev):
    number = change(folder, PAY, IO)
    one = dev(".")
    one.until(READY)
    infinitic("start", "payment", "card=visa", "--id", "p", "--wait")
    [line] = one.until("workflow code")

    assert "warning payment p: " in line
    assert f"trips.py:{number}: `open('x', 'w').close()` opens 'x' in workflow code: put it into a @task" in line


def test_with_watch_error_it_suspends_until_the_code_is_mended(infinitic, folder, dev):
    change(folder, PAY, IO)
    one = dev(".", "--watch", "error")
    one.until(READY)
    infinitic("start", "payment", "card=visa", "--id", "p")
    one.until("payment p is suspended: p: ")
    assert not (folder / "x").exists()
    change(folder, IO, PAY)
    one.until(READY)

    assert infinitic("result", "p", "--timeout", "60").out == "receipt for 500\n"


def test_the_serving_process_ends_with_the_one_that_looks(dev):
    one = dev(".")
    one.until(READY)
    one.process.kill()

    assert one.process.stderr.read() == ""  # which ends when both have closed it


@pytest.fixture
def busy(infinitic, folder, dev) -> Dev:
    """It serves `blocking.py`, and runs a task that ends once somebody writes to `begun`."""
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    one = dev("blocking.py")
    one.until(READY)
    infinitic("start", "waiting")
    (folder / "begun").read_text()
    return one


def test_a_second_signal_ends_it_at_once(busy):
    busy.process.send_signal(signal.SIGINT)
    busy.until(STOPPING)

    assert busy.stop() == INTERRUPTED


def test_a_folder_without_workflows_says_so_and_waits(folder, dev):
    (folder / "trips.py").unlink()
    one = dev(".")
    lines = one.until("waiting for a change")

    problem = (
        "no file beneath . imports infinitic, tests and scripts aside. "
        "Name the folder or the module that holds the workflows."
    )
    assert lines[0] == f"error: {problem}"
    assert (one.stop(), one.said) == (OK, ["stopped"])  # there are no tasks to wait for


# found by Python in each process that it starts, before the first module is imported
INTERRUPTED_EARLY = """
import os, signal, sys
if "--lifeline" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_while_the_serving_process_starts_breaks_nothing(folder, dev, monkeypatch):
    (folder / "early").mkdir()
    (folder / "early" / "sitecustomize.py").write_text(INTERRUPTED_EARLY)
    monkeypatch.setenv("PYTHONPATH", str(folder / "early"))

    assert dev("trips.py").until(READY)[-1].endswith(READY)


def test_a_file_that_is_named_like_a_module_of_python_harms_nobody(folder, dev):
    (folder / "queue.py").write_text("raise RuntimeError('not me')\n")

    assert dev("trips.py").until(READY)[-1].endswith(READY)


def test_a_change_that_waits_for_a_task_says_so(busy, folder):
    (folder / "blocking.py").write_text(f"{BLOCKING}\n")

    assert busy.until("Ctrl-C twice") == [
        "blocking.py changed",
        "waiting for the tasks that run; Ctrl-C twice to stop at once",
    ]
    busy.process.send_signal(signal.SIGINT)
    (folder / "begun").write_text("done")
    assert busy.process.wait(60) == OK


def test_a_worker_that_is_killed_says_by_what(folder, dev):
    (folder / "deadly.py").write_text("import os, infinitic\nos.kill(os.getpid(), 9)\n")

    assert dev("deadly.py").until("waiting") == ["the worker was killed by SIGKILL; waiting for a change; Ctrl-C stops"]


def test_wrong_use_ends_at_once(bare):
    assert bare("dev").code == USAGE
    assert bare("dev", ".", "--watch", "loud").code == USAGE
