"""Finding and counting instances, page by page."""

from itertools import chain

import pytest

from infinitic.records import Filter
from infinitic.storages import Page, finding
from tests.storages.given import AWKWARD_IDS, NOON, after, child_of, next_run, record, start, waits_for, write


def begin(storage, workflow_id, **fields):
    """An instance with a record of these fields."""
    workflow = fields.get("workflow", "trips")
    write(storage, start(workflow_id, workflow=workflow, record=record(workflow_id, **fields)))


def found(storage, limit=1_000, **where):
    """The ids of a page that must be the last, in order; as many as are counted."""
    page = storage.find(Filter(**where), limit)
    assert page.after == ""
    assert storage.count(Filter(**where)) == len(page.records)
    return [record.workflow_id for record in page.records]


def paged(storage, limit, where):
    """All pages' ids."""
    pages, after_ = [], ""
    while True:
        page = storage.find(where, limit, after_)
        pages.append([record.workflow_id for record in page.records])
        if not (after_ := page.after):
            return pages


def test_nothing_is_found_in_an_empty_storage(storage):
    assert storage.find(Filter(), 10) == Page((), "")
    assert storage.count(Filter()) == 0


def test_whole_records_are_found_newest_start_first_then_by_id(storage):
    for number, name in enumerate(["c", "a", "b"]):
        begin(storage, name, started=NOON + number)
    begin(storage, "B", started=NOON + 1)

    expected = tuple(record(name, started=NOON + n) for name, n in (("b", 2), ("B", 1), ("a", 1), ("c", 0)))
    assert storage.find(Filter(), 10) == Page(expected, "")


def test_the_newest_record_is_what_is_found(storage):
    first = start(record=record(status="running", tags=("eu",)))
    write(storage, first, after(first, 1, record=record(status="completed", tags=("us",))))

    assert found(storage, status="running") == found(storage, tag="eu") == []
    assert found(storage, status="completed") == found(storage, tag="us") == ["trip-1"]


def test_a_new_run_is_found_by_its_own_start(storage):
    first = start("old", record=record("old", started=NOON, tags=("eu",)))
    write(storage, first)
    begin(storage, "newer", started=NOON + 1, tags=("eu",))
    write(storage, next_run(first, "r2", record=record("old", run="r2", started=NOON + 2, tags=("eu",))))

    for fields in ({}, {"tag": "eu"}, {"tag": "eu", "workflow": "trips"}):
        assert found(storage, **fields) == ["old", "newer"]
        assert found(storage, since=NOON + 2, **fields) == ["old"]


def test_by_workflow(storage):
    for workflow in ("trips", "Trips", "trips2", "visits"):
        begin(storage, workflow, workflow=workflow)

    assert found(storage, workflow="trips") == ["trips"]
    assert found(storage, workflow="trip") == []


def test_by_status(storage):
    for status in ("running", "suspended", "completed"):
        begin(storage, status, status=status)

    assert found(storage, status="suspended") == ["suspended"]
    assert found(storage, status="failed") == []


def test_by_tag(storage):
    tags = {
        "1": ("eu",),
        "2": ("eu", "vip"),
        "3": ("EU",),
        "4": (),
        "5": ("eu ", "e", "u"),
        "6": ("%",),
        "7": ("'",),
    }
    for name, its in tags.items():
        begin(storage, name, tags=its)

    assert found(storage, tag="eu") == ["1", "2"]
    assert found(storage, tag="vip") == ["2"]
    assert found(storage, tag="%") == ["6"]
    assert found(storage, tag="'") == ["7"]
    assert found(storage, tag="_") == []


@pytest.mark.parametrize("tag", AWKWARD_IDS)
def test_by_a_tag_that_looks_like_another(storage, tag):
    for number, other in enumerate(AWKWARD_IDS):
        begin(storage, f"{number}", tags=(other,))

    assert found(storage, tag=tag) == [f"{AWKWARD_IDS.index(tag)}"]


def test_by_start_time_from_that_instant_on_and_up_to_another(storage):
    for offset in (-1, 0, 1):
        begin(storage, f"{offset}", started=NOON + offset)

    assert found(storage, since=NOON) == ["1", "0"]
    assert found(storage, until=NOON) == ["-1"]
    assert found(storage, since=NOON, until=NOON + 1) == ["0"]
    assert found(storage, since=NOON, until=NOON) == []


def test_by_end_from_that_instant_on_and_up_to_another(storage):
    for offset in (-1, 0, 1):
        begin(storage, f"{offset}", status="completed", started=NOON - offset, ended=NOON + offset)
    begin(storage, "open")

    assert found(storage, ended_since=NOON) == ["0", "1"]
    assert found(storage, ended_until=NOON) == ["-1"]
    assert found(storage, ended_since=NOON, ended_until=NOON + 1) == ["0"]
    assert found(storage, ended_since=1) == ["-1", "0", "1"]


def test_what_goes_on_after_its_end_ended_at_no_time(storage):
    first = start(record=record(status="failed", ended=NOON))
    write(storage, first)
    assert found(storage, ended_since=NOON) == ["trip-1"]

    write(storage, after(first, 1, record=record(status="running")))
    assert found(storage, ended_since=1) == []


def test_by_parent(storage):
    for name, parent in {"1": "p", "2": "p", "3": "P", "4": "p "}.items():
        begin(storage, name, caller=child_of(parent))
    begin(storage, "p", tags=("p",), waits=waits_for("p"))

    assert found(storage, parent="p") == ["1", "2"]
    assert found(storage, parent="P") == ["3"]
    assert found(storage, parent="q") == []


def test_by_what_is_waited_for_its_name_or_its_kind(storage):
    begin(storage, "1", waits=waits_for("Hotels.book", "charge"))
    begin(storage, "2", waits=(*waits_for("bonus", kind="receive"), *waits_for("timer", kind="timer")))
    begin(storage, "3", status="suspended", waits=waits_for("charge", "charge"))
    begin(storage, "4", tags=("charge", "task"))

    assert found(storage, waiting="charge") == ["1", "3"]
    assert found(storage, waiting="charge", status="running") == ["1"]
    assert found(storage, waiting="task") == ["1", "3"]
    assert (
        found(storage, waiting="timer") == found(storage, waiting="bonus") == found(storage, waiting="receive") == ["2"]
    )
    assert found(storage, waiting="book") == []


def test_what_is_waited_for_changes_with_each_turn(storage):
    first = start(record=record(tags=("eu",), waits=waits_for("charge")))
    second = after(first, 1, record=record(tags=("eu",), waits=waits_for("timer", "reply", kind="receive")))
    third = after(second, 1, record=record(tags=("eu",), status="completed", ended=NOON))
    write(storage, first, second)
    assert found(storage, waiting="charge") == []
    assert found(storage, waiting="reply") == found(storage, waiting="receive", tag="eu") == ["trip-1"]

    write(storage, third)
    assert found(storage, waiting="reply") == found(storage, waiting="receive") == []
    assert found(storage, tag="eu", status="completed") == ["trip-1"]


def test_tags_that_change_while_an_instance_runs_are_found_at_once(storage):
    first = start(record=record(tags=("eu", "new")))
    second = after(first, 1, record=record(tags=("eu", "vip")))
    third = after(second, 1, mark=second.mark)
    fourth = after(third, 1, mark=second.mark, record=record(tags=()))
    fifth = after(fourth, 1, record=record(tags=("eu",)))
    write(storage, first)
    for append, tags in ((second, {"eu", "vip"}), (third, {"eu", "vip"}), (fourth, set()), (fifth, {"eu"})):
        write(storage, append)
        assert {tag for tag in ("eu", "vip", "new") if found(storage, tag=tag)} == tags


def test_what_is_removed_is_found_by_none_of_its_labels(storage):
    fields = {"tags": ("eu",), "caller": child_of("p"), "waits": waits_for("charge")}
    write(storage, start("a", record=record("a", **fields), expires=NOON), start("b", record=record("b", **fields)))
    assert storage.remove(storage.ended(Filter(), 9)) == [True]

    assert found(storage, tag="eu") == found(storage, parent="p") == found(storage, waiting="charge") == ["b"]
    write(storage, start("a"))
    assert found(storage, tag="eu") == ["b"]


@pytest.mark.parametrize("prefix", [*AWKWARD_IDS, "x", "é", "🦄" * 63, "nothing"])
def test_by_a_prefix_of_the_id_to_the_letter(storage, prefix):
    storage.append([start(id_) for id_ in AWKWARD_IDS])

    assert found(storage, id_prefix=prefix) == sorted(id_ for id_ in AWKWARD_IDS if id_.startswith(prefix))


def test_by_all_at_once(storage):
    begin(storage, "eu-1", tags=("vip",), started=NOON, status="failed")
    begin(storage, "eu-2", tags=("vip",), started=NOON, status="running")
    begin(storage, "eu-3", tags=(), started=NOON, status="failed")
    begin(storage, "eu-4", tags=("vip",), started=NOON - 1, status="failed")
    begin(storage, "eu-5", tags=("vip",), started=NOON, status="failed", workflow="visits")
    begin(storage, "us-1", tags=("vip",), started=NOON, status="failed")

    assert found(storage, workflow="trips", status="failed", tag="vip", since=NOON, id_prefix="eu-") == ["eu-1"]


@pytest.mark.parametrize("fields", [{}, {"workflow": "trips"}, {"workflow": "trips", "status": "failed", "since": 1}])
def test_an_id_that_is_the_prefix_itself_is_found_among_many_of_a_tag(storage, fields):
    ids = [f"{number}" for number in range(100)]
    storage.append([start(id_, record=record(id_, tags=("eu",), status="failed")) for id_ in ids])

    for prefix in ids:
        its = [id_ for id_ in ids if id_.startswith(prefix)]
        assert found(storage, tag="eu", id_prefix=prefix, **fields) == its


LIKE = {"tags": ("vip",), "caller": child_of("p"), "waits": waits_for("charge"), "status": "failed", "ended": NOON + 5}


@pytest.mark.parametrize(
    "unlike",
    [
        {"tags": ("vip2",)},
        {"caller": child_of("q")},
        {"waits": waits_for("book")},
        {"status": "completed"},
        {"ended": NOON + 4},
        {"ended": NOON + 6},
        {"started": NOON - 1},
        {"started": NOON + 1},
        {"workflow": "visits"},
    ],
)
@pytest.mark.parametrize("many", ["like", "unlike"])
@pytest.mark.parametrize("counted", [1, 1_000])
def test_by_each_beside_all_others_whichever_index_has_the_fewest(storage, unlike, many, counted, monkeypatch):
    monkeypatch.setattr(finding, "COUNTED", counted)
    for number in range(5):
        fields = LIKE | (unlike if (number > 0) == (many == "unlike") else {})
        begin(storage, f"eu-{number}", **fields)
    where = {"workflow": "trips", "status": "failed", "tag": "vip", "parent": "p", "waiting": "charge"}
    where |= {"since": NOON, "until": NOON + 1, "ended_since": NOON + 5, "ended_until": NOON + 6, "id_prefix": "eu-"}

    expected = ["eu-0"] if many == "unlike" else ["eu-1", "eu-2", "eu-3", "eu-4"]
    assert found(storage, **where) == expected
    assert [name for page in paged(storage, 2, Filter(**where)) for name in page] == expected


def test_instances_of_one_start_are_in_the_order_of_their_ids_bytes(storage):
    storage.append([start(id_) for id_ in AWKWARD_IDS])

    assert found(storage) == sorted(AWKWARD_IDS, key=str.encode)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 44, 1_000])
def test_pages_hold_all_once_and_in_order(storage, limit):
    for number, id_ in enumerate(AWKWARD_IDS):
        begin(storage, id_, started=NOON + number % 5)
    whole = found(storage)

    pages = paged(storage, limit, Filter())

    assert list(chain.from_iterable(pages)) == whole
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


def test_the_last_page_says_so_even_when_it_is_full(storage):
    storage.append([start(f"{number}") for number in range(4)])

    assert paged(storage, 2, Filter()) == [["0", "1"], ["2", "3"]]
    assert paged(storage, 4, Filter()) == [["0", "1", "2", "3"]]


def test_pages_of_a_filter_are_filled_with_what_it_allows(storage):
    for number in range(20):
        begin(storage, f"{number:02}", tags=("odd",) * (number % 2), started=NOON - number)

    pages = paged(storage, 4, Filter(tag="odd"))

    assert pages == [["01", "03", "05", "07"], ["09", "11", "13", "15"], ["17", "19"]]


def test_pages_are_stable_while_instances_come_and_go(storage):
    for number in range(6):
        begin(storage, f"{number}", started=NOON - number)
    first = storage.find(Filter(), 2)
    begin(storage, "new", started=NOON + 1)
    write(
        storage,
        after(start("1"), 1, record=record("1", started=NOON - 1, status="completed"), expires=NOON - 1),
    )
    assert storage.purge(NOON) == 1

    second = storage.find(Filter(), 2, first.after)
    third = storage.find(Filter(), 2, second.after)

    assert [record.workflow_id for record in second.records + third.records] == ["2", "3", "4", "5"]
    assert third.after == ""
