"""What a page of a list reads: a part of an index, however many instances there are."""

import pytest

from infinitic.records import Filter
from infinitic.storages import finding
from infinitic.storages.sqlite import ENDED
from tests.storages.given import NOON, record, start


@pytest.mark.parametrize("where", [Filter(), Filter(workflow="trips"), Filter(status="failed")])
def test_a_page_of_ended_instances_goes_on_in_the_index_where_the_one_before_ended(backend, where):
    wanted = backend.storage._finder.condition(where)
    with backend.storage._file.reading() as db:
        rows = db.execute("EXPLAIN QUERY PLAN " + ENDED.format(wanted.text), (*wanted.values, 7, "id", 200)).fetchall()

    assert [row[3] for row in rows] == [
        "SEARCH led USING INDEX heads_to_purge (expires>?)",
        "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY",  # of those that expire at the same instant
    ]


@pytest.mark.parametrize(
    "where",
    [
        Filter(),
        Filter(workflow="trips"),
        Filter(tag="eu", status="running", workflow="trips", waiting="charge"),
        Filter(parent="p", since=1, until=2),
        Filter(ended_since=1),
        Filter(id_prefix="a"),
    ],
)
@pytest.mark.parametrize("counted", [1, 1_000])
def test_what_is_found_is_found_by_an_index_and_never_sorted_whole(backend, where, counted, monkeypatch):
    monkeypatch.setattr(finding, "COUNTED", counted)
    backend.storage.append([start(f"a{n}", record=record(f"a{n}", ended=NOON, tags=("eu",))) for n in range(9)])
    plans = []

    def explaining(statement, values):
        plans.append([row[3] for row in backend.storage._rows(f"EXPLAIN QUERY PLAN {statement}", values)])
        return backend.storage._rows(statement, values)

    finder = finding.Finder(explaining, aside="+{}")
    found, page = finder.find(where, 100), plans[-1]
    assert len(found.records) == finder.count(where)
    steps = [step for plan in plans for step in plan]
    assert [step for step in steps if step.startswith(("SCAN led", "SCAN its", "SCAN heads"))] == []
    if counted == 1:  # then an index leads that gives the newest start first, and only its pieces are merged
        assert sum("TEMP B-TREE" in step for step in page) == (not where.status)
