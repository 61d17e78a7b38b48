"""What a page of a list reads: a part of an index, however many instances there are."""

import pytest

from infinitic.records import Filter
from infinitic.storages.sql import condition
from infinitic.storages.sqlite import ENDED


@pytest.mark.parametrize("where", [Filter(), Filter(workflow="trips"), Filter(status="failed")])
def test_a_page_of_ended_instances_goes_on_in_the_index_where_the_one_before_ended(backend, where):
    wanted, values = condition(where)
    with backend.storage._file.reading() as db:
        rows = db.execute("EXPLAIN QUERY PLAN " + ENDED.format(wanted), (*values, 7, "id", 200)).fetchall()

    assert [row[3] for row in rows] == [
        "SEARCH heads USING INDEX heads_to_purge (expires>?)",
        "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY",  # of those that expire at the same instant
    ]
