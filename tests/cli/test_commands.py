"""Each command against a real worker in a process of its own, over one SQLite file."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.given import tidy


@pytest.fixture
def trips(worker):
    """A worker that serves `trips.py`."""
    return worker("trips")


def test_start_prints_the_id_and_result_what_the_workflow_returned(infinitic, trips):
    started = infinitic("start", "payment", "card=visa", "--id", "pay-1")
    result = infinitic("result", "pay-1", "--timeout", "60s")

    assert (started.code, started.out) == (0, "pay-1\n")
    assert (result.code, result.out) == (0, "receipt for 500\n")


def test_start_makes_an_id_where_none_is_given(infinitic, trips):
    started = infinitic("start", "payment", "card=visa", "--json")

    assert started.data["workflow"] == "payment"
    assert infinitic("result", started.data["id"], "--json", "--timeout", "60").data == "receipt for 500"


def test_start_waits_when_it_is_told_to(infinitic, trips):
    arguments = json.dumps({"card": "visa"})

    assert infinitic("start", "payment", "--args", arguments, "--wait").out == "receipt for 500\n"
    assert infinitic("start", "payment", "--args", "-", "--wait", stdin=arguments).out == "receipt for 500\n"


def test_start_attaches_to_what_there_is_unless_told_otherwise(infinitic, trips):
    first = infinitic("start", "payment", "card=visa", "--id", "pay-1", "--wait")
    again = infinitic("start", "payment", "card=other", "--id", "pay-1", "--wait")
    refused = infinitic("start", "payment", "card=visa", "--id", "pay-1", "--if-exists", "fail")
    anew = infinitic("start", "payment", "card=visa", "--id", "pay-1", "--if-exists", "restart", "--wait")

    assert first.out == again.out == anew.out == "receipt for 500\n"
    assert (refused.code, refused.line.partition(".")[0]) == (
        5,
        "'pay-1' is in use by a payment instance that is completed",
    )


def test_a_failed_workflow_ends_start_and_result_with_exit_code_1(infinitic, trips):
    failed = infinitic("start", "payment", "card=stolen", "--id", "pay-1", "--wait")

    assert failed.code == 1
    assert failed.line == "payment 'pay-1' failed: charge failed: ConnectionError: no route to the bank"
    assert infinitic("result", "pay-1").code == 1


def test_methods_queries_and_signals_reach_the_instance(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    signal = infinitic("signal", "ada", "bonus", "5")
    redeemed = infinitic("call", "ada", "redeem", "points=2", "--json")
    balance = infinitic("call", "ada", "balance", "--query")
    infinitic("signal", "ada", "bonus", "--", "-1")

    assert (signal.code, signal.out) == (0, "ada has the signal\n")
    assert (redeemed.code, redeemed.data) == (0, True)
    assert (balance.code, balance.out) == (0, "3\n")
    assert infinitic("result", "ada", "--timeout", "60").out == "2\n"


def test_a_query_that_is_called_as_a_method_gets_a_hint(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    refused = infinitic("call", "ada", "balance")

    assert (refused.code, refused.line.rpartition(". ")[2]) == (2, "For a query add --query")


def test_arguments_that_do_not_fit_are_wrong_use(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    refused = infinitic("call", "ada", "redeem", "points=many")

    assert refused.code == 2
    assert refused.line == "Loyalty.redeem(points: int): Expected `int`, got `str` - at `$.points`"


def test_a_cancelled_instance_is_cancelled(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    cancelled = infinitic("cancel", "ada")
    result = infinitic("result", "ada", "--timeout", "60")
    signal = infinitic("signal", "ada", "bonus", "5")

    assert (cancelled.code, cancelled.out) == (0, "ada is being cancelled\n")
    assert (result.code, result.line) == (1, "Loyalty 'ada' was cancelled")
    assert (signal.code, signal.line) == (
        5,
        "Loyalty 'ada' is cancelled and takes no further calls or signals.",
    )


def test_a_failed_instance_can_be_retried(infinitic, trips):
    infinitic("start", "payment", "card=stolen", "--id", "pay-1", "--wait")
    retried = infinitic("retry", "pay-1")

    assert (retried.code, retried.out) == (0, "pay-1 goes on\n")
    assert infinitic("result", "pay-1", "--timeout", "60").code == 1
    assert "retried by hand" in infinitic("show", "pay-1").out


def test_only_a_failed_instance_can_be_retried(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    refused = infinitic("retry", "ada")

    assert (refused.code, refused.line) == (5, "Loyalty 'ada' is running; only a failed run can be retried")


# --- looking, which needs no worker ---


@pytest.fixture
def past(infinitic, worker):
    """Three instances, and no worker any more."""
    trips = worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "pay-1", "--tag", "vip", "--wait")
    infinitic("start", "payment", "card=stolen", "--id", "pay-2", "--wait")
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada", "--meta", "by=ann")
    infinitic("call", "ada", "redeem", "points=2")
    trips.stop()


def test_list_shows_the_newest_first_and_what_they_wait_for(infinitic, past):
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
    ],
)
def test_list_finds_what_is_asked_for(infinitic, past, given, found):
    assert [one["id"] for one in infinitic("list", *given, "--json").data] == found


def test_the_list_as_json_holds_what_programs_need(infinitic, past):
    ada, broken, paid = infinitic("list", "--json").data

    assert (ada["meta"], ada["waiting"], ada["waits"][0]["name"]) == ({"by": "ann"}, 1, "bonus")
    assert broken["error"]["cause"]["message"] == "no route to the bank"
    assert (paid["value"], paid["tags"]) == ("receipt for 500", ["vip"])
    assert paid["started"].endswith("+00:00")


def test_show_tells_the_story_of_an_instance(infinitic, past):
    text = tidy(infinitic("show", "ada").out)

    assert text.splitlines()[0] == "Loyalty ada is running"
    assert "└── ● bonus.receive() · for " in text
    assert "waits at trips.py:N in Loyalty.run: extra = yield from self.bonus.receive()" in text
    assert "redeem(points=2) · called" in text


def test_show_as_json_is_the_same_tree(infinitic, past):
    data = infinitic("show", "pay-2", "--json").data
    [method] = data["methods"]
    [step] = method["nodes"]

    assert (data["workflow_id"], data["status"], data["turns"]) == ("pay-2", "failed", 6)
    assert (step["label"], step["arguments"]) == ("charge", {"card": "stolen", "cents": 500})
    assert [attempt["number"] for attempt in step["attempts"]] == [1, 2, 3]
    assert step["error"]["stack"][-1]["source"] == 'raise ConnectionError("no route to the bank")'


def test_a_suspended_instance_says_why(infinitic, past, folder, worker):
    changed = (folder / "trips.py").read_text().replace("self.bonus.receive()", "sleep(1)")
    (folder / "trips.py").write_text(changed)
    worker("trips")
    infinitic("signal", "ada", "bonus", "5")

    listed = infinitic("list", "--status", "suspended").out
    head = tidy(infinitic("show", "ada").out).splitlines()[:2]

    assert "history says bonus.receive() at position m0.0" in listed
    assert head[0] == "Loyalty ada is suspended"
    assert head[1].startswith("  history says bonus.receive() at position m0.0, but trips.py:N now asks")


# --- pipes ---


def piped(url, *args, environ=None):
    command = [sys.executable, "-m", "infinitic", *args, "--url", url]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(command, capture_output=True, check=False, env=plain | (environ or {}), timeout=60)


def test_nothing_in_a_pipe_has_escape_codes(url, past):
    for args in (["list"], ["show", "pay-2"], ["show", "nothing"], ["--help"]):
        done = piped(url, *args) if args != ["--help"] else piped(url, "list", "--help")
        assert b"\x1b" not in done.stdout + done.stderr


def test_text_that_the_encoding_does_not_know_is_replaced(url, past):
    done = piped(url, "show", "pay-2", environ={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})

    assert done.returncode == 0
    assert b"+-- x charge(" in done.stdout or b"`-- x TaskFailed" in done.stdout


def test_a_reader_that_goes_away_is_no_error(url, past):
    command = [sys.executable, "-m", "infinitic", "show", "pay-2", "--url", url]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, check=False, timeout=60)

    assert done.stderr == b""
