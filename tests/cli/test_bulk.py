"""One operation on many instances: which ones, what is asked before, and what is said at the end."""

from itertools import islice

import pytest

from infinitic.cli import bulk
from infinitic.errors import WorkflowFinished
from infinitic.events import from_datetime
from infinitic.records import StateRecord


@pytest.fixture
def trips(worker):
    """A worker that serves `trips.py`."""
    return worker("trips")


@pytest.fixture
def five(infinitic, trips):
    """Five instances that wait, two of which are somebody's; and one that has failed."""
    for number in range(5):
        tag = ["--tag", "vip"] * (number < 2)
        infinitic("start", "Loyalty.run", "weeks=1", "--id", f"ada-{number}", *tag)
    assert infinitic("start", "payment", "card=stolen", "--id", "pay", "--wait").code == 1
    for number in range(5):
        assert infinitic("call", f"ada-{number}", "balance", "--query", "--timeout", "60").out == "0\n"


def statuses(infinitic, *filters):
    return {one["id"]: one["status"] for one in infinitic("list", *filters, "--json").data}


def test_all_that_are_meant_are_cancelled_and_no_others(infinitic, five):
    told = infinitic("cancel", "--workflow", "Loyalty", "--tag", "vip", "--yes")

    assert (told.code, told.out, told.err) == (0, "2 instances asked to cancel\n", "")
    assert infinitic("result", "ada-1", "--timeout", "60").code == 1
    assert infinitic("result", "ada-0", "--timeout", "60").code == 1
    assert statuses(infinitic, "--id-prefix", "ada") == {
        "ada-0": "cancelled",
        "ada-1": "cancelled",
        "ada-2": "running",
        "ada-3": "running",
        "ada-4": "running",
    }
    assert infinitic("cancel", "--tag", "vip", "--yes").out == "0 instances asked to cancel\n"


def test_all_that_wait_for_it_get_a_signal(infinitic, five):
    told = infinitic("signal", "bonus", "5", "--waiting-for", "bonus", "--yes")

    assert (told.code, told.out) == (0, "5 instances signalled\n")
    assert {infinitic("result", f"ada-{number}", "--timeout", "60").out for number in range(5)} == {"5\n"}


def test_all_that_failed_are_retried(infinitic, five):
    told = infinitic("retry", "--since", "1h", "--yes")

    assert (told.code, told.out) == (0, "1 instance taken up again\n")
    assert infinitic("result", "pay", "--timeout", "60").code == 1


def test_without_a_yes_what_is_meant_is_shown_and_nothing_is_done(infinitic, five):
    told = infinitic("cancel", "--workflow", "Loyalty")

    assert (told.code, told.out) == (2, "")
    *rows, error = told.err.splitlines()
    assert [row.split()[:3] for row in rows[1:]] == [[f"ada-{n}", "Loyalty", "running"] for n in (4, 3, 2, 1, 0)]
    assert error == (
        "error: this would cancel 5 instances: --yes does it without being asked, `infinitic list` lists them."
        " See infinitic cancel --help."
    )
    assert set(statuses(infinitic, "--id-prefix", "ada").values()) == {"running"}


def test_what_is_asked_may_be_refused(infinitic, five, monkeypatch):
    monkeypatch.setattr(bulk, "_is_attended", lambda: True)
    monkeypatch.setattr(bulk, "SHOWN", 2)
    no = infinitic("cancel", "--workflow", "Loyalty", stdin="n\n")
    yes = infinitic("cancel", "--tag", "vip", stdin="y\n")

    assert (no.code, no.out) == (130, "")
    assert "and 3 more\nCancel 5 instances? [y/N]:" in no.err
    assert (yes.code, yes.out) == (0, "2 instances asked to cancel\n")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["cancel"], "give an ID, or filters such as --workflow or --tag for many. See"),
        (["cancel", "ada", "--tag", "vip"], "give an ID, or filters such as --workflow or --tag for many, not both."),
        (["cancel", "--status", "failed"], "Invalid value for '--status': 'failed' is not one of"),
        (["retry", "--status", "failed"], "No such option"),
        (["signal", "bonus", "5"], "give ID CHANNEL VALUE, or CHANNEL VALUE and filters."),
        (["signal", "ada", "bonus", "5", "--tag", "vip"], "give CHANNEL VALUE beside filters."),
        (["cancel", "--workflow", "", "--yes"], "workflow= takes a text that is not empty"),
        (["purge", "--workflow", "", "--older-than", "1h", "--yes"], "workflow= takes a text that is not empty"),
        (["list", "ada", "--id-prefix", "eve"], "give PREFIX or --id-prefix, not both."),
        (["list", "--since", "1h", "--until", "2h"], "since= is not before until="),
    ],
)
def test_one_or_many_are_meant_and_never_both(infinitic, given, says):
    told = infinitic(*given)

    assert (told.code, says in told.err) == (2, True), told.err


# --- what goes wrong ---


class Told:
    """A client that finds these records, and what was done to which."""

    def __init__(self, records):
        self.records = records
        self.done = []

    def find(self, *, status, until=None, limit=None):
        last = 0 if until is None else from_datetime(until)
        return islice((one for one in self.records if one.status == status and (not last or one.started < last)), limit)

    def get(self, workflow_id, workflow):
        return workflow_id


def records(count, status="running"):
    return [StateRecord("trip", f"t{number}", "r1", status) for number in range(count)]


OPERATION = bulk.Operation("cancel", "asked to cancel", ("running", "suspended"), ends=True)


def test_each_instance_gets_it_once_though_its_status_changes_meanwhile():
    client = Told([*records(250), *records(3, "suspended")])
    meant = [{"status": "running"}, {"status": "suspended"}]
    outcome = bulk._done(client, lambda _, one: client.done.append(one), bulk._each(client, meant), OPERATION, 253)

    assert sorted(client.done) == sorted(f"t{number}" for number in range(250))
    assert (outcome.done, outcome.failed, outcome.gave_up) == (250, [], False)


def test_one_that_goes_back_to_the_status_before_is_not_missed_and_a_new_one_is_not_meant():
    client = Told([*records(1, "suspended"), *records(250)[1:]])
    meant = bulk._as_of_now(client, [{"status": "running"}, {"status": "suspended"}])

    def act(_, one):
        if one == "t1":
            client.records[:1] = [StateRecord("trip", "new", "r1", started=1 << 62), StateRecord("trip", "t0", "r1")]
        client.done.append(one)

    bulk._done(client, act, bulk._each(client, meant), OPERATION, 250)

    assert sorted(client.done) == sorted(f"t{number}" for number in range(250))


def test_where_there_is_none_nothing_is_done_to_what_starts_then():
    client = Told(records(1, "completed"))

    assert bulk._as_of_now(client, [{"status": "running"}, {"status": "suspended"}]) == []


def test_one_that_fails_stops_no_other_and_all_are_told(capsys):
    client = Told(records(30))

    def act(_, one):
        if one.endswith("5") or one.startswith("t1"):
            raise TimeoutError(f"no answer from {one}")

    outcome = bulk._done(client, act, bulk._each(client, [{"status": "running"}]), OPERATION, 30)
    with pytest.raises(bulk.click.exceptions.Exit) as ended:
        bulk.finish(outcome, "asked to cancel")

    assert (outcome.done, len(outcome.failed), ended.value.exit_code) == (17, 13, 4)
    said = capsys.readouterr()
    assert said.out == "17 instances asked to cancel\n"
    assert said.err.splitlines()[:2] == ["t1: no answer from t1", "t5: no answer from t5"]
    assert said.err.splitlines()[-1] == "and 3 more like these"


def ending_one(_, one):
    if one == "t1":
        raise WorkflowFinished("trip", one, "completed")


def test_one_that_ended_meanwhile_is_no_failure_of_what_was_to_end_it(capsys):
    client, each = Told(records(3)), [{"status": "running"}]
    bulk.finish(bulk._done(client, ending_one, bulk._each(client, each), OPERATION, 3), "asked to cancel")

    said = capsys.readouterr()
    assert (said.out, said.err) == ("2 instances asked to cancel, 1 had ended\n", "")


def test_one_that_ended_meanwhile_has_not_what_it_was_to_get():
    client, each = Told(records(3)), [{"status": "running"}]
    signal = bulk.Operation("signal", "signalled", ("running",))
    outcome = bulk._done(client, ending_one, bulk._each(client, each), signal, 3)

    assert (outcome.done, [id for id, _ in outcome.failed], outcome.ended) == (2, ["t1"], 0)


def test_when_nobody_answers_at_all_the_rest_is_left(capsys):
    client = Told(records(1_000))

    def act(_, one):
        raise TimeoutError("no answer")

    outcome = bulk._done(client, act, bulk._each(client, [{"status": "running"}]), OPERATION, 1_000)
    with pytest.raises(bulk.click.exceptions.Exit):
        bulk.finish(outcome, "asked to cancel")

    assert (outcome.done, len(outcome.failed), outcome.gave_up) == (0, bulk.PAGE, True)
    assert capsys.readouterr().err.endswith("nobody answered, and the rest was left as it is: is a worker at work?\n")
