"""`purge`: what goes, what stays, what is asked before. Instances are written by hand, as a worker leaves them."""

import time
from contextlib import closing

import pytest
from click.testing import CliRunner

from infinitic.backends.sqlite import SqliteBackend
from infinitic.cli import program, purging
from infinitic.records import Filter, Mark, StateRecord
from infinitic.storages.memory import MemoryStorage
from tests.storages.given import after, start, write

SECOND = 1_000_000
HOUR, DAY = 3_600 * SECOND, 86_400 * SECOND
NOW = time.time_ns() // 1_000


def past(workflow_id, ended, left, status="completed", workflow="trips", **fields):
    """An instance that ended so many microseconds ago, and is to be kept for *left* more."""
    record = StateRecord(workflow, workflow_id, "r1", status, started=NOW - ended - HOUR, ended=NOW - ended)
    return start(workflow_id, workflow=workflow, record=record, expires=NOW + left, **fields)


@pytest.fixture
def storage(url):
    """The storage of the test's database: two have expired, three have not, two are open."""
    with closing(SqliteBackend.open(url.removeprefix("sqlite:///"))) as backend:
        write(
            backend.storage,
            past("old-1", 9 * DAY, -DAY),
            past("old-2", 8 * DAY, -HOUR, status="failed"),
            past("young-1", 2 * DAY, 5 * DAY),
            past("young-2", DAY, 6 * DAY, workflow="visits"),
            past("young-3", HOUR, 7 * DAY, status="cancelled"),
            start("runs"),
            start("held", record=StateRecord("trips", "held", "r1", "suspended", started=NOW)),
        )
        yield backend.storage


def there(storage):
    return sorted(record.workflow_id for record in storage.find(Filter(), 100).records)


def test_what_has_expired_goes_without_a_question(infinitic, storage):
    told = infinitic("purge")

    assert (told.code, told.out, told.err) == (0, "2 instances gone\n", "")
    assert there(storage) == ["held", "runs", "young-1", "young-2", "young-3"]
    assert infinitic("purge").out == "there is nothing to remove\n"


def test_a_dry_run_lists_what_would_go_and_removes_nothing(infinitic, storage):
    told = infinitic("purge", "--older-than", "12h", "--dry-run")

    assert [" ".join(line.split()) for line in told.out.splitlines()] == [
        "ID WORKFLOW STATUS ENDED RETENTION",
        "old-1 trips completed 9 d ago has passed",
        "old-2 trips failed 8 d ago has passed",
        "young-1 trips completed 2 d ago 4 d 23 h left",
        "young-2 visits completed 1 d ago 5 d 23 h left",
        "4 instances would go, 2 of them before the retention has passed",
    ]
    assert len(there(storage)) == 7


def test_a_dry_run_lists_the_first_twenty(infinitic, storage):
    write(storage, *(past(f"more-{number:02}", DAY, -1) for number in range(30)))
    told = infinitic("purge", "--dry-run", "--json").data

    assert (told["removed"], len(told["first"]), told["first"][0]["id"]) == (32, 20, "old-1")


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["--older-than", "12h"], ["held", "runs", "young-3"]),
        (["--older-than", "0"], ["held", "runs"]),
        (["--older-than", "3d"], ["held", "runs", "young-1", "young-2", "young-3"]),
        (["--status", "failed"], ["held", "old-1", "runs", "young-1", "young-2", "young-3"]),
        (["--older-than", "0", "--status", "cancelled"], ["held", "old-1", "old-2", "runs", "young-1", "young-2"]),
        (["--older-than", "0", "--workflow", "visits"], ["held", "old-1", "old-2", "runs", "young-1", "young-3"]),
    ],
)
def test_what_is_asked_for_goes_and_nothing_that_is_open(infinitic, storage, given, left):
    assert infinitic("purge", *given, "--yes").code == 0
    assert there(storage) == left


def test_without_a_terminal_nothing_goes_early_unless_told(infinitic, storage):
    told = infinitic("purge", "--older-than", "12h")

    assert (told.code, told.out) == (2, "")
    assert told.line == (
        "2 instances would go before the retention has passed: "
        "--yes removes without being asked, --dry-run lists what would go. See infinitic purge --help."
    )
    assert len(there(storage)) == 7


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 3), ("n\n", 130, 7), ("", 130, 7)])
def test_on_a_terminal_it_asks_before_anything_goes_early(storage, url, monkeypatch, answer, code, left):
    monkeypatch.setattr(purging, "_is_attended", lambda: True)
    told = CliRunner().invoke(program, ["purge", "--older-than", "12h", "--url", url], input=answer)

    assert told.exit_code == code
    assert "2 instances would go before the retention has passed. Remove? [y/N]: " in told.stderr
    assert len(there(storage)) == left


def test_what_has_not_sent_all_stays_and_is_counted(infinitic, storage):
    write(storage, past("behind", 9 * DAY, -DAY, mark=Mark("r1", 0)))

    assert infinitic("purge", "--dry-run").out.splitlines()[-1] == (
        "2 instances would go; 1 must stay: not all they send is sent yet"
    )
    assert infinitic("purge").out == "2 instances gone; 1 must stay: not all they send is sent yet\n"
    assert "behind" in there(storage)


def test_the_counts_are_there_for_programs(infinitic, storage):
    told = infinitic("purge", "--older-than", "12h", "--yes", "--json").data

    assert told == {"dry_run": False, "removed": 4, "early": 2, "unsent": 0, "changed": 0}


def test_a_file_is_made_smaller_when_asked_for(infinitic, storage):
    write(storage, past("long", 9 * DAY, -DAY, count=20_000))
    told = infinitic("purge", "--vacuum", "--json").data

    assert told["removed"] == 3
    assert told["freed_bytes"] > 100_000
    assert infinitic("purge", "--vacuum").out.splitlines()[-1] == "the file is 0.0 MB smaller"


def test_only_a_file_can_be_made_smaller(bare):
    told = bare("purge", "--vacuum", "--url", "memory://x")

    assert (told.code, told.line.partition(".")[0]) == (
        2,
        "--vacuum is for a SQLite file: servers see to their space themselves",
    )


def test_what_goes_on_while_it_is_removed_stays_and_is_counted():
    storage = MemoryStorage()
    first, second = past("a", DAY, -DAY), past("b", DAY, -DAY)
    write(storage, first, second)
    pages = [list(storage.ended(Filter(), 10))]
    write(storage, after(first, 1, expires=NOW - DAY))
    counts = purging._purged(storage, lambda: iter(pages), NOW, dry_run=False, yes=False)

    assert (counts.removed, counts.changed, there(storage)) == (1, 1, ["a"])


def test_many_pages_go(storage, infinitic):
    storage.append([past(f"more-{number:03}", DAY, -1) for number in range(250)])

    assert infinitic("purge").out == "252 instances gone\n"
    assert len(there(storage)) == 5


def test_a_database_that_is_not_there_is_not_made(infinitic, folder):
    told = infinitic("purge", "--url", "sqlite:///nope.db")

    assert (told.code, (folder / "nope.db").exists()) == (3, False)


# --- one by one ---


def test_an_ended_instance_is_deleted_by_its_id_whatever_its_retention(infinitic, storage):
    told = infinitic("delete", "young-1", "young-3")

    assert (told.code, told.out, told.err) == (0, "2 instances gone\n", "")
    assert there(storage) == ["held", "old-1", "old-2", "runs", "young-2"]


def test_what_cannot_be_deleted_stays_and_is_told_at_the_end(infinitic, storage):
    told = infinitic("delete", "runs", "young-1", "younger")

    assert (told.code, told.out) == (5, "1 instance gone\n")
    assert told.err.splitlines() == [
        "runs: trips 'runs' is running and cannot be deleted."
        " Cancel or terminate it first, and wait until it has ended.",
        "younger: there is no workflow instance with the id 'younger'. Did you mean young-3 or young-2?",
    ]
    assert there(storage) == ["held", "old-1", "old-2", "runs", "young-2", "young-3"]
