"""Each command against a real worker in a process of its own, over one SQLite file."""

import json
from datetime import timedelta

import pytest

from infinitic.cli import starting
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


def test_start_runs_a_bare_task(infinitic, trips):
    booked = infinitic("start", "--task", "Hotels.book", "city=Oslo", "nights=2", "--id", "h", "--wait")
    charged = infinitic("start", "--task", "charge", "card=visa", "cents=500", "--wait")
    failed = infinitic("start", "--task", "Hotels.book", "town=Oslo", "--wait")

    assert (booked.code, booked.out) == (0, "200\n")
    assert charged.out == "receipt for 500\n"
    assert "Hotels.book" in infinitic("show", "h").out
    assert infinitic("result", "h").out == "200\n"
    assert (failed.code, "the required argument `city` is missing" in failed.err) == (1, True)


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


@pytest.mark.parametrize("if_exists", ["fail", "restart"])
def test_a_start_that_must_be_answered_says_that_no_worker_has_taken_it_up(infinitic, monkeypatch, if_exists):
    monkeypatch.setattr(starting, "PATIENCE", timedelta(seconds=0.2))
    given = ["start", "payment", "card=visa", "--id", "pay-1", "--if-exists", if_exists]
    late = infinitic(*given)
    sooner = infinitic(*given, "--timeout", "0.1s")
    waiting = infinitic(*given, "--timeout", "0.1s", "--wait")

    served = "it stays sent; no worker serves payment just now"
    assert (late.code, late.line) == (4, f"payment: 'pay-1' did not answer within 0.2 s; {served}")
    assert sooner.line == waiting.line == f"payment: 'pay-1' did not answer within 0.1 s; {served}"


def test_a_failed_workflow_ends_start_and_result_with_exit_code_1(infinitic, trips):
    failed = infinitic("start", "payment", "card=stolen", "--id", "pay-1", "--wait")

    assert failed.code == 1
    why = "charge failed after 3 attempts: ConnectionError: no route to the bank"
    assert failed.line == f"payment 'pay-1' failed: {why}"
    assert infinitic("result", "pay-1").code == 1


def test_tag_gives_tags_and_takes_them(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada", "--tag", "new")
    infinitic("call", "ada", "balance", "--query")
    tagged = infinitic("tag", "ada", "+vip", "-new", "-cheap", "--timeout", "60s")
    shown = infinitic("show", "ada").out
    none = infinitic("tag", "ada")
    unknown = infinitic("tag", "adb", "+vip")

    assert (tagged.code, tagged.out) == (0, "ada has the change of its tags\n")
    assert [one["id"] for one in infinitic("list", "--tag", "vip", "--json").data] == ["ada"]
    assert infinitic("list", "--tag", "new", "--json").data == []
    assert "tags +vip, -cheap, -new · from outside" in shown
    assert (none.code, none.line.partition(".")[0]) == (2, "Say which tags: +vip gives one, -new takes one")
    assert (unknown.code, "Did you mean ada" in unknown.err) == (5, True)


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
    signal = infinitic("signal", "ada", "bonus", "many")

    assert refused.code == signal.code == 2
    assert refused.line == "Loyalty.redeem(points: int): Expected `int`, got `str` - at `$.points`"
    assert signal.line == "channel 'bonus': Expected `int`, got `str`"


def test_a_call_that_is_refused_is_no_bug_of_ours(infinitic, trips):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    refused = infinitic("call", "ada", "redeem", "points=2000")

    assert (refused.code, refused.line) == (1, "ValueError: 2000 are too many")


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


def test_a_suspended_instance_says_why(infinitic, trips, folder, worker):
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    infinitic("call", "ada", "redeem", "points=2")
    trips.stop()
    changed = (folder / "trips.py").read_text().replace("self.bonus.receive()", "sleep(1)")
    (folder / "trips.py").write_text(changed)
    worker("trips")
    infinitic("signal", "ada", "bonus", "5")

    listed = infinitic("list", "--status", "suspended").out
    head = tidy(infinitic("show", "ada").out).splitlines()[:2]

    assert "history says bonus.receive() at position m0.0" in listed
    assert head[0] == "Loyalty ada is suspended"
    assert head[1].startswith("  history says bonus.receive() at position m0.0, but trips.py:N now asks")
