"""`list` and `show`, which need no worker: three instances that one has left behind, in terminals and in pipes."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from infinitic.cli import program
from tests.cli.conftest import TRIPS, Worker
from tests.cli.given import tidy


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A database with three instances. Nothing here changes it."""
    found = f"sqlite:///{tmp_path_factory.mktemp('past')}/trips.db"
    worker = Worker(found, str(TRIPS))
    for line in (
        "start payment card=visa --id pay-1 --tag vip --wait",
        "start payment card=stolen --id pay-2 --wait",
        "start Loyalty.run weeks=2 --id ada --meta by=ann",
        "call ada redeem points=2",
    ):
        CliRunner().invoke(program, [*line.split(), "--url", found])
    assert worker.stop() == 0
    return found


def test_list_shows_the_newest_first_and_what_they_wait_for(infinitic):
    header, *rows = infinitic("list").out.splitlines()

    assert header.split() == ["ID", "WORKFLOW", "STATUS", "STARTED", "WAITS", "FOR,", "OR", "RESULT"]
    assert [row.split()[:3] for row in rows] == [
        ["ada", "Loyalty", "running"],
        ["pay-2", "payment", "failed"],
        ["pay-1", "payment", "completed"],
    ]
    assert rows[0].endswith("bonus.receive()")
    assert rows[1].endswith("charge failed after 3 attempts: ConnectionError: no route to the bank")
    assert rows[2].endswith('→ "receipt for 500"')


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["pay"], ["pay-2", "pay-1"]),
        (["--workflow", "Loyalty"], ["ada"]),
        (["--status", "failed"], ["pay-2"]),
        (["--tag", "vip"], ["pay-1"]),
        (["--limit", "1"], ["ada"]),
        (["--since", "1h"], ["ada", "pay-2", "pay-1"]),
        (["--since", "2999-01-01"], []),
        (["--until", "2999-01-01", "--since", "1h"], ["ada", "pay-2", "pay-1"]),
        (["--until", "1h"], []),
        (["--ended-since", "1h"], ["pay-2", "pay-1"]),
        (["--ended-until", "2999-01-01", "--status", "failed"], ["pay-2"]),
        (["--waiting-for", "bonus"], ["ada"]),
        (["--waiting-for", "receive", "--workflow", "payment"], []),
        (["--parent", "ada"], []),
        (["--id-prefix", "pay-2"], ["pay-2"]),
    ],
)
def test_list_finds_what_is_asked_for(infinitic, given, found):
    assert [one["id"] for one in infinitic("list", *given, "--json").data] == found


def test_the_list_as_json_holds_what_programs_need(infinitic):
    ada, broken, paid = infinitic("list", "--json").data

    assert (ada["meta"], ada["waiting"], ada["waits"][0]["name"]) == ({"by": "ann"}, 1, "bonus")
    assert broken["error"]["cause"]["message"] == "no route to the bank"
    assert (paid["value"], paid["tags"]) == ("receipt for 500", ["vip"])
    assert paid["started"].endswith("+00:00")


def test_show_tells_the_story_of_an_instance(infinitic):
    text = tidy(infinitic("show", "ada").out)

    assert text.splitlines()[0] == "Loyalty ada is running"
    assert "└── ● bonus.receive() · for " in text
    assert "waits at trips.py:N in Loyalty.run: extra = yield from self.bonus.receive()" in text
    assert "redeem(points=2) · called" in text


def test_show_as_json_is_the_same_tree(infinitic):
    data = infinitic("show", "pay-2", "--json").data
    [method] = data["methods"]
    [step] = method["nodes"]

    assert (data["workflow_id"], data["status"], data["turns"]) == ("pay-2", "failed", 6)
    assert (step["label"], step["arguments"]) == ("charge", {"card": "stolen", "cents": 500})
    assert [attempt["number"] for attempt in step["attempts"]] == [1, 2, 3]
    assert step["error"]["stack"][-1]["source"] == 'raise ConnectionError("no route to the bank")'


# --- pipes ---


def piped(url, *args, environ=None):
    command = [sys.executable, "-m", "infinitic", *args, "--url", url]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(command, capture_output=True, check=False, env=plain | (environ or {}), timeout=60)


def test_nothing_in_a_pipe_has_escape_codes(url):
    for args in (["list"], ["show", "pay-2"], ["show", "nothing"], ["--help"]):
        done = piped(url, *args) if args != ["--help"] else piped(url, "list", "--help")
        assert b"\x1b" not in done.stdout + done.stderr


def test_text_that_the_encoding_does_not_know_is_replaced(url):
    done = piped(url, "show", "pay-2", environ={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert done.returncode == 0
    assert b"+-- x charge(" in done.stdout or b"`-- x TaskFailed" in done.stdout


def test_a_reader_that_goes_away_is_no_error(url):
    command = [sys.executable, "-m", "infinitic", "show", "pay-2", "--url", url]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False, timeout=60)

    assert done.stderr == b""
