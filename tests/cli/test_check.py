"""`infinitic check`: open instances and the code of a module, both sides where they differ, and nothing is changed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from infinitic.cli.exits import DIVERGED, OK, OPERATOR, USAGE
from infinitic.client import Client
from tests.cli import trips
from tests.cli.conftest import Ended

TWICE = (
    "            self.points += extra\n",
    "            self.points += extra\n            yield from charge('x', 1)\n",
)
GUARDED = (
    'Guard the change with `if patched("…")`; or make the new code a version of its own, as in @workflow(version=2), '
    "and serve both until these instances have ended; or restore the old code."
)


def checked(url: str, *args: str, **environ: str) -> Ended:
    """`check`, in a process of its own: it imports the module as it is now."""
    command = [sys.executable, "-B", "-m", "infinitic", "check", *args, "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=os.environ | environ)
    return Ended(done.returncode, done.stdout, done.stderr)


def change(folder: Path, old: str, new: str) -> None:
    text = (folder / "trips.py").read_text()
    assert old in text
    (folder / "trips.py").write_text(text.replace(old, new))


def content(url: str) -> list[str]:
    """All that the database holds."""
    with sqlite3.connect(url.removeprefix("sqlite:///")) as db:
        found = list(db.iterdump())
    db.close()
    return found


@pytest.fixture
def opened(url, worker):
    """So many instances of `Loyalty` that wait for their second bonus; the worker is gone."""

    def start(count: int, *, serving: bool = False) -> None:
        one = worker("trips")
        with Client(url) as client:
            for number in range(count):
                client.start(trips.Loyalty.run(9), id=f"ada-{number}")
            for number in range(count):
                client.run(trips.Loyalty.by_id(f"ada-{number}").bonus.send(5), timeout=60)
        if not serving:
            assert one.stop() == 0

    return start


def test_code_that_is_as_it_was_is_fine(url, opened):
    opened(1)

    assert checked(url, "trips") == Ended(OK, "✔ 1 instance replays as before\n", "")


def test_a_store_without_open_instances_is_fine(url):
    assert checked(url, "trips") == Ended(OK, "✔ there is nothing to replay\n", "")


def test_both_sides_are_shown_with_the_line_and_what_to_do(url, folder, opened):
    opened(3)
    change(folder, *TWICE)
    told = checked(url, "trips")

    assert told.out.splitlines() == [
        "✗ Loyalty: 3 instances diverge, e.g. ada-2, ada-1, ada-0 · turn 1",
        "  History says bonus.receive() at m0.1, the code now asks for charge(card='x', cents=1).",
        "",
        "               HISTORY SAYS    │              THIS CODE ASKS FOR",
        "  m0.0 receive bonus.receive() │ m0.0 receive bonus.receive()",
        '✗ m0.1 receive bonus.receive() │ m0.1 task    charge(card="x", cents=1)',
        "",
        "  trips.py:147 in Loyalty.run: yield from charge('x', 1)",
        f"  {GUARDED}",
        "",
        "✗ 3 diverge",
    ]
    assert (told.code, told.err) == (DIVERGED, "")


def test_several_processes_share_the_work_and_say_the_same(url, folder, opened):
    opened(60)
    alone = checked(url, "trips", "--jobs", "1")
    shared = checked(url, "trips", "--jobs", "2")
    assert (alone, shared.out) == (shared, "✔ 60 instances replay as before\n")
    change(folder, *TWICE)

    assert checked(url, "trips", "--jobs", "2").out.splitlines()[-1] == "✗ 60 diverge"


def test_nothing_in_the_store_is_changed_beside_a_running_worker_or_without(url, folder, opened):
    opened(2, serving=True)
    change(folder, *TWICE)
    before = content(url)
    assert checked(url, "trips", "--all").code == DIVERGED

    assert content(url) == before


def test_workflows_that_the_modules_do_not_have_are_counted_and_fail_only_when_strict(url, folder, opened):
    opened(2)
    (folder / "other.py").write_text("from infinitic import workflow\n\n@workflow\ndef other() -> None:\n    pass\n")
    told = checked(url, "other.py")

    assert told.out.splitlines() == [
        "○ 2 instances of Loyalty are not covered: no module here has it",
        "✔ there is nothing to replay",
    ]
    assert (told.code, checked(url, "other.py", "--strict").code) == (OK, DIVERGED)


def test_workflow_and_limit_choose_what_is_checked(url, opened):
    opened(3)

    assert checked(url, "trips", "--limit", "2").out == "✔ 2 instances replay as before\n"
    assert checked(url, "trips", "--workflow", "trip").out == "✔ there is nothing to replay\n"


def test_a_workflow_that_is_nowhere_is_refused(url, folder):
    (folder / "other.py").write_text("from infinitic import workflow\n\n@workflow\ndef other() -> None:\n    pass\n")
    told = checked(url, "other.py", "--workflow", "othr")

    assert (told.code, told.line) == (
        USAGE,
        "other.py: no workflow othr, nor is there an open instance of one; there are other. "
        "See infinitic check --help.",
    )


def test_failed_instances_are_checked_only_when_asked_for(infinitic, url, folder, worker):
    one = worker("trips")
    infinitic("start", "payment", "card=stolen", "--wait")
    one.stop()
    change(folder, "yield from charge(card, 500)", "yield from charge(card, 600)")

    assert checked(url, "trips").out == "✔ there is nothing to replay\n"
    assert checked(url, "trips", "--all").code == DIVERGED


def test_programs_get_it_as_json_whatever_the_code_prints(url, folder, opened):
    opened(2)
    change(folder, TWICE[0], TWICE[1] + "            print('noise')\n")
    change(folder, "confirmed = Channel", "print('more')\nconfirmed = Channel")
    told = checked(url, "trips", "--json")
    data = json.loads(told.out)
    [problem] = data.pop("problems")
    rows, stack = problem.pop("rows"), problem.pop("stack")

    assert data == {"replayed": 0, "diverged": 2, "uncovered": {}}
    assert problem == {
        "workflow": "Loyalty",
        "instances": 2,
        "examples": ["ada-1", "ada-0"],
        "what": "diverges",
        "summary": "history says bonus.receive() at m0.1, the code now asks for charge(card='x', cents=1)",
        "advice": GUARDED,
        "position": "m0.1",
        "turn": 1,
    }
    assert rows[1] == {
        "then": {"position": "m0.1", "kind": "receive", "label": "bonus.receive()", "arguments": None},
        "now": {"position": "m0.1", "kind": "task", "label": "charge", "arguments": {"card": "x", "cents": 1}},
        "differs": True,
    }
    assert [frame["source"] for frame in stack] == ["yield from charge('x', 1)"]


def test_code_that_raises_is_shown_with_its_line(url, folder, opened):
    opened(1)
    change(folder, TWICE[0], "            raise LookupError('gone')\n")
    lines = checked(url, "trips").out.splitlines()

    assert lines[:2] == [
        "✗ Loyalty: ada-0 fails · turn 1",
        "  The code raises LookupError: gone where it went on.",
    ]
    assert "  trips.py:146 in Loyalty.run: raise LookupError('gone')" in lines


def test_a_module_that_cannot_be_imported_is_the_operators(url, folder):
    (folder / "broken.py").write_text("def (\n")
    told = checked(url, "broken.py")

    assert told.code == OPERATOR
    assert told.line.startswith("broken.py cannot be imported: ")


def test_a_module_without_workflows_is_refused(url, folder):
    (folder / "tasks.py").write_text("from infinitic import task\n\n@task\ndef one() -> int:\n    return 1\n")

    assert checked(url, "tasks.py").line == "tasks.py: no workflow to check. Name the modules that define them."


def test_code_that_ends_its_process_is_told(url, folder, opened):
    opened(51)
    change(folder, TWICE[0], f"            __import__('os').kill(__import__('os').getpid(), {signal.SIGKILL})\n")

    told = checked(url, "trips", "--jobs", "2")
    assert told.code == OPERATOR
    assert told.line.startswith("a process that replayed instances died")
