"""What an operator does to an instance by hand, against a real worker over one SQLite file."""

import pytest

from tests.cli.given import tidy


@pytest.fixture
def ada(infinitic, worker):
    """An instance that waits for a signal, and for a timer of a week."""
    worker("trips")
    infinitic("start", "Loyalty.run", "weeks=2", "--id", "ada")
    infinitic("call", "ada", "redeem", "points=2")


def test_a_suspended_instance_stands_still_until_it_is_resumed(infinitic, ada):
    suspended = infinitic("suspend", "ada", "--reason", "the shop is closed")
    signal = infinitic("signal", "ada", "bonus", "5")
    listed = infinitic("list", "--status", "suspended")
    why = infinitic("why", "ada")
    resumed = infinitic("resume", "ada")

    assert (suspended.code, suspended.out) == (0, "ada is suspended\n")
    assert signal.out == "ada has the signal\n"
    assert "somebody suspended it: the shop is closed" in tidy(listed.out)
    assert "Nothing is lost: it goes on with what waits in its inbox (1 signal) once somebody resumes it." in why.out
    assert "infinitic resume ada" in why.out
    assert (resumed.code, resumed.out) == (0, "ada goes on\n")
    assert "→ 5" in infinitic("show", "ada").out


def test_what_waits_in_the_inbox_of_a_suspended_instance_is_not_said_to_be_done(infinitic, worker):
    worker("trips")
    infinitic("start", "many", "--id", "m")
    infinitic("suspend", "m")
    timers = infinitic("complete-timers", "m")
    cancelled = infinitic("cancel", "m")
    retried = infinitic("retry", "m", "--timeout", "0.2s")
    terminated = infinitic("terminate", "m")

    assert (timers.code, timers.out) == (0, "m is suspended: its timers are over once it goes on\n")
    assert (cancelled.code, cancelled.out) == (0, "m is suspended: it is cancelled once it goes on\n")
    assert (retried.code, "it is suspended: somebody suspended it" in retried.line) == (4, True)
    assert terminated.out == "m is terminated\n"
    assert [one["status"] for one in infinitic("list", "--json").data] == ["terminated"]


def test_a_second_suspension_without_a_reason_keeps_that_of_the_first(infinitic, ada):
    infinitic("suspend", "ada", "--reason", "the shop is closed")
    again = infinitic("suspend", "ada")
    kept = infinitic("show", "ada").out
    infinitic("suspend", "ada", "--reason", "for good")

    assert (again.code, again.out) == (0, "ada is suspended\n")
    assert "  somebody suspended it: the shop is closed\n" in kept
    assert "  somebody suspended it: for good\n" in infinitic("show", "ada").out


def test_a_terminated_instance_has_ended_at_once(infinitic, ada):
    terminated = infinitic("terminate", "ada", "--reason", "started by mistake")
    again = infinitic("terminate", "ada")
    result = infinitic("result", "ada", "--timeout", "60")
    resumed = infinitic("resume", "ada")

    assert (terminated.code, terminated.out) == (again.code, again.out) == (0, "ada is terminated\n")
    assert (result.code, result.line) == (1, "Loyalty 'ada' was terminated: started by mistake")
    assert resumed.line == "Loyalty 'ada' is terminated and cannot be resumed any more."
    assert "was terminated: started by mistake" in infinitic("show", "ada").out
    assert "was terminated" in infinitic("why", "ada").out
    assert ": started by mistake." in tidy(infinitic("why", "ada").out)


def test_what_comes_too_late_for_an_instance_is_named(infinitic, worker):
    worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "pay", "--wait")
    asked = {
        "cancel": "cannot be cancelled any more",
        "terminate": "cannot be terminated any more",
        "suspend": "cannot be suspended any more",
        "resume": "cannot be resumed any more",
        "complete-timers": "has no timers any more",
        "retry": "cannot be retried: only a failed run can be",
    }
    told = {one: infinitic(one, "pay") for one in asked}
    tagged = infinitic("tag", "pay", "+vip")

    assert {one: (ended.code, ended.line) for one, ended in told.items()} == {
        one: (5, f"payment 'pay' is completed and {said}.") for one, said in asked.items()
    }
    assert tagged.line == "payment 'pay' is completed and keeps its tags."


def test_timers_are_completed_by_hand(infinitic, ada):
    first = infinitic("complete-timers", "ada")
    wrong = infinitic("complete-timers", "ada", "--method", "forget")

    assert (first.code, first.out) == (0, "the timers of ada are over\n")  # it had none
    assert (wrong.code, wrong.line) == (5, "Loyalty 'ada' runs no method 'forget' (it runs: run)")

    infinitic("start", "many", "--id", "m")
    infinitic("complete-timers", "m")
    assert infinitic("result", "m", "--timeout", "60").code == 0
    assert "its timers were completed by hand" in infinitic("show", "m").out


def test_an_instance_may_begin_later(infinitic, worker):
    worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "soon", "--delay", "1h")
    infinitic("start", "payment", "card=visa", "--id", "then", "--at", "2020-01-01")
    wrong = infinitic("start", "payment", "card=visa", "--at", "tomorrow")
    both = infinitic("start", "payment", "card=visa", "--at", "2020-01-01", "--delay", "1h")

    assert infinitic("result", "then", "--timeout", "60").out == "receipt for 500\n"
    assert "has not begun yet: its code is due in" in infinitic("why", "soon").out
    assert "its code is due in" in infinitic("show", "soon").out
    assert (wrong.code, "'tomorrow' is no instant: write 2026-07-01 or 2026-07-01T12:00" in wrong.err) == (2, True)
    assert (both.code, both.line) == (2, "give --delay or --at, not both. See infinitic start --help.")


def test_failed_tasks_are_retried_by_name(infinitic, ada):
    refused = infinitic("retry", "ada", "--task", "charge", "--ended", "failed")

    assert (refused.code, refused.line) == (5, "Loyalty 'ada' has dispatched no such task that has failed")
