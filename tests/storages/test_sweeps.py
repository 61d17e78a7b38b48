"""Offers of instances that wait for somebody, and the purge of those that are done."""

import msgspec
import pytest

from infinitic.errors import WorkflowInUse
from infinitic.records import BY_HAND, Filter, Mark, Version
from infinitic.storages import Past, delete
from tests.storages.given import (
    AWKWARD_IDS,
    HOUR,
    NOON,
    SECOND,
    after,
    in_threads,
    item,
    loaded,
    next_run,
    record,
    start,
    timer,
    turns,
    write,
)


def stuck(workflow_id, fingerprint, workflow="trips"):
    """An instance with an inbox, that code of this fingerprint could not continue."""
    return start(
        workflow_id,
        workflow=workflow,
        inbox_added=(item("k"),),
        record=record(workflow_id, workflow=workflow, fingerprint=fingerprint),
    )


def offered(storage, fingerprints=None, behind_since=0, limit=100):
    return sorted(storage.offers({"trips": "mine"} if fingerprints is None else fingerprints, behind_since, limit))


def test_an_instance_with_an_inbox_is_offered_to_other_code(storage):
    write(storage, stuck("a", "other"), stuck("b", "mine"), stuck("c", ""), start("d"))

    assert offered(storage) == [("trips", "a"), ("trips", "c")]
    assert offered(storage, {"trips": "other"}) == [("trips", "b"), ("trips", "c")]


def test_what_somebody_suspended_is_offered_to_nobody(storage):
    write(storage, stuck("a", "other"), stuck("b", BY_HAND))

    assert offered(storage) == [("trips", "a")]


def test_an_empty_inbox_is_nothing_to_offer(storage):
    first = stuck("a", "other")
    write(storage, first, after(first, 1, inbox=1, inbox_removed=("k",)))

    assert offered(storage) == []


def test_a_change_of_the_fingerprint_changes_who_is_offered_it(storage):
    first = stuck("a", "other")
    write(storage, first, after(first, inbox=1, record=record("a", fingerprint="mine")))

    assert offered(storage) == []
    assert offered(storage, {"trips": "other"}) == [("trips", "a")]


def test_only_workflows_with_a_fingerprint_are_offered(storage):
    write(storage, stuck("a", "x"), stuck("b", "x", "visits"), stuck("c", "x", "Trips"))

    assert offered(storage) == [("trips", "a")]
    assert offered(storage, {"trips": "y", "visits": "y"}) == [("trips", "a"), ("visits", "b")]
    assert offered(storage, {"trips": "x", "visits": "y"}) == [("visits", "b")]
    assert offered(storage, {}) == []


def test_no_more_are_offered_than_the_limit(storage):
    storage.append([stuck(f"{number}", "other") for number in range(5)])

    assert len(offered(storage, limit=3)) == 3
    assert set(offered(storage, limit=3)) <= set(offered(storage))


def test_an_instance_is_offered_once_for_two_reasons(storage):
    first = msgspec.structs.replace(stuck("a", "other"), mark=Mark("r1", 0))
    write(storage, first)

    assert offered(storage, behind_since=storage.now() + HOUR) == [("trips", "a")]


def test_an_instance_whose_mark_is_behind_is_offered_to_any_code_of_its_workflow(storage):
    write(storage, start("a", mark=Mark("r1", 0), record=record("a", fingerprint="mine")), start("b"))

    assert offered(storage, behind_since=storage.now() + HOUR) == [("trips", "a")]
    assert offered(storage, {"visits": "x"}, behind_since=storage.now() + HOUR) == []


def test_a_mark_that_is_not_behind_for_long_is_not_offered(storage):
    write(storage, start("a", mark=Mark("r1", 0)))

    assert offered(storage, behind_since=storage.now() - HOUR) == []


def test_a_mark_is_behind_since_the_append_that_left_it_behind(storage, jump):
    write(storage, start("a", mark=Mark("r1", 0)))
    since = storage.now()
    jump(HOUR)

    assert offered(storage, behind_since=since) == []
    assert offered(storage, behind_since=since + 1) == [("trips", "a")]


def test_a_mark_that_stands_still_is_behind_since_the_first_append_it_missed(storage, jump):
    first = start("a", mark=Mark("r1", 0))
    since = storage.now()
    write(storage, first)
    jump(SECOND)
    write(storage, after(first, 1, mark=Mark("r1", 0)))

    assert offered(storage, behind_since=since + 1) == [("trips", "a")]


def test_a_mark_that_moves_is_behind_since_it_moved(storage, jump):
    first = start("a", mark=Mark("r1", 0))
    write(storage, first)
    jump(SECOND)
    write(storage, after(first, 1, mark=Mark("r1", 1)))

    assert offered(storage, behind_since=storage.now()) == []
    assert offered(storage, behind_since=storage.now() + 1) == [("trips", "a")]


def test_a_mark_that_caught_up_is_not_offered(storage):
    first = start("a", count=2, mark=Mark("r1", 1))
    write(storage, first, after(first, mark=Mark("r1", 2)))

    assert offered(storage, behind_since=storage.now() + HOUR) == []


def test_a_mark_in_a_former_run_is_behind(storage):
    first = start("a", mark=Mark("r1", 1))
    second = next_run(first, "r2", mark=Mark("r1", 1))
    write(storage, first, second)
    assert offered(storage, behind_since=storage.now() + HOUR) == [("trips", "a")]

    write(storage, after(second, mark=Mark("r2", 1)))
    assert offered(storage, behind_since=storage.now() + HOUR) == []


def test_what_expired_is_purged_whole(storage):
    now = storage.now()
    first = start("a", count=2, inbox_added=(item("k"),), timers_set=(timer("m0.1", now, "a"),))
    write(storage, first, next_run(first, "r2", expires=now - 1))

    assert storage.purge(now) == 1
    assert storage.load("a") is None
    assert storage.history("a", "r1") == storage.history("a", "r2") == ()
    assert storage.records(["a"]) == [None]
    assert storage.count(Filter()) == 0
    assert storage.claim_due_timers(["trips"], HOUR, 10, SECOND).timers == ()
    assert offered(storage, behind_since=now + HOUR) == []
    assert storage.purge(now) == 0


def test_only_what_expires_before_that_instant_is_purged(storage):
    now = storage.now()
    for name, expires in {"past": now - 1, "now": now, "future": now + 1, "open": None}.items():
        write(storage, start(name, expires=expires))

    assert storage.purge(now) == 1
    assert [storage.load(name) is None for name in ("past", "now", "future", "open")] == [
        True,
        False,
        False,
        False,
    ]


def test_an_instance_whose_mark_is_behind_is_not_purged(storage):
    now = storage.now()
    first = start("a", count=2, mark=Mark("r1", 1), expires=now - 1)
    former = start("b", mark=Mark("r1", 1))
    write(storage, first, former, next_run(former, "r2", mark=Mark("r1", 1), expires=now - 1))

    assert storage.purge(now) == 0

    write(storage, after(first, 1, mark=Mark("r1", 3), expires=now - 1))
    assert storage.purge(now) == 1


def test_an_instance_that_lives_on_is_not_purged(storage):
    now = storage.now()
    first = start("a", expires=now - 1)
    write(storage, first, next_run(first, "r2", expires=None))

    assert storage.purge(now) == 0


def test_a_late_writer_of_a_purged_instance_is_refused(storage):
    now = storage.now()
    first = start("a", count=3, expires=now - 1)
    write(storage, first)
    assert storage.purge(now) == 1

    assert storage.append([after(first, 1), after(start("b"))]) == [False, False]
    assert storage.append([after(first)]) == [False]
    assert storage.load("a") is None
    assert storage.history("a", "r1") == ()


def test_a_purged_id_can_be_used_anew_with_nothing_of_the_old(storage):
    now = storage.now()
    write(storage, start("a", count=3, inbox_added=(item("k"),), expires=now - 1))
    assert storage.purge(now) == 1
    write(storage, start("a", run="r9"))

    stored = loaded(storage, "a")
    assert (stored.turns, stored.inbox, stored.timers, stored.unsent) == (turns(1, "r9"), (), (), ())
    assert storage.history("a", "r1") == ()


def test_many_are_purged_at_once(storage):
    now = storage.now()
    storage.append([start(f"{number}", expires=now + number) for number in range(50)])

    assert storage.purge(now + 40) == 40
    assert storage.count(Filter()) == 10


# --- by hand ---


def ended(storage, **where):
    return [one.record.workflow_id for one in storage.ended(Filter(**where), 100)]


def test_ended_instances_are_listed_in_the_order_in_which_they_expire(storage):
    now = storage.now()
    storage.append([start(name, expires=now + at) for name, at in {"c": 2, "a": 5, "b": 2, "d": 9}.items()])
    write(storage, start("open"))

    assert ended(storage) == ["b", "c", "a", "d"]
    assert storage.ended(Filter(), 1) == (Past(record("b"), Version("r1", 1), now + 2),)


def test_ended_instances_are_listed_in_pages(storage):
    now = storage.now()
    storage.append([start(name, expires=now + 1) for name in AWKWARD_IDS])
    found, last = [], None
    while page := storage.ended(Filter(), 4, last):
        last = page[-1]
        found += [one.record.workflow_id for one in page]

    assert found == sorted(AWKWARD_IDS, key=str.encode)


def test_ended_instances_are_found_by_workflow_and_status(storage):
    now = storage.now()
    for name, fields in {
        "a": {"status": "failed"},
        "b": {"status": "completed"},
        "c": {"status": "failed", "workflow": "visits"},
    }.items():
        its = record(name, **fields)
        write(storage, start(name, workflow=its.workflow, record=its, expires=now))

    assert ended(storage, status="failed") == ["a", "c"]
    assert ended(storage, workflow="trips") == ["a", "b"]
    assert ended(storage, workflow="trips", status="failed") == ["a"]


def test_an_ended_instance_says_whether_its_mark_is_behind(storage):
    first = start("a", count=2, mark=Mark("r1", 1), expires=storage.now())
    write(storage, first)
    assert [one.behind for one in storage.ended(Filter(), 9)] == [True]

    write(storage, after(first, mark=Mark("r1", 2), expires=storage.now()))
    assert [one.behind for one in storage.ended(Filter(), 9)] == [False]


def test_what_is_removed_by_hand_goes_whole_before_it_expires(storage):
    now = storage.now()
    one = start("a", count=2, inbox_added=(item("k"),), expires=now + HOUR)
    write(storage, one, start("b", expires=now + HOUR))

    assert storage.remove(storage.ended(Filter(), 1)) == [True]
    assert (storage.load("a"), storage.history("a", "r1"), storage.count(Filter())) == (None, (), 1)


def test_what_went_on_since_it_was_listed_is_not_removed(storage):
    now = storage.now()
    first, second, third = (start(name, expires=now) for name in "abc")
    write(storage, first, second, third)
    past = storage.ended(Filter(), 9)
    write(storage, after(first, 1, expires=now), next_run(second, "r2"))

    assert storage.remove(past) == [False, False, True]
    assert storage.remove(past) == [False, False, False]


def test_what_came_into_the_inbox_since_it_was_listed_keeps_an_instance(storage):
    first = start("a", expires=storage.now())
    write(storage, first)
    past = storage.ended(Filter(), 9)
    write(storage, after(first, inbox=1, inbox_added=(item("k"),), expires=storage.now()))

    assert storage.remove(past) == [False]


def test_an_instance_whose_mark_is_behind_is_not_removed_by_hand(storage):
    write(storage, start("a", count=2, mark=Mark("r1", 1), expires=storage.now()))

    assert storage.remove(storage.ended(Filter(), 9)) == [False]


def test_an_open_instance_is_not_removed_by_hand(storage):
    write(storage, start("a"))

    assert storage.remove([Past(record("a"), Version("r1", 1), 0)]) == [False]


def test_many_turns_are_removed_all_the_same(storage):
    now = storage.now()
    write(storage, *(start(name, count=3_000, expires=now) for name in "abc"))

    assert storage.remove(storage.ended(Filter(), 9)) == [True, True, True]
    assert storage.count(Filter()) == 0


def test_compacting_loses_nothing(storage):
    write(storage, start("a", count=3_000, expires=storage.now()), start("b", count=3))
    storage.remove(storage.ended(Filter(), 9))

    assert storage.compact() >= 0
    assert loaded(storage, "b").turns == turns(3)


# --- one by its id ---


def test_an_ended_instance_is_deleted_whole_whatever_its_expiry(storage):
    its = record("a", status="completed", ended=NOON, tags=("eu",))
    first = start("a", count=2, inbox_added=(item("k"),))
    later = storage.now() + HOUR
    write(storage, first, after(first, 1, record=its, timers_set=(timer("m0.1", NOON, "a"),), expires=later))
    write(storage, start("b", record=msgspec.structs.replace(its, workflow_id="b"), expires=later))

    assert delete(storage, "a") is True
    assert (storage.load("a"), storage.history("a", "r1"), storage.records(["a"])) == (None, (), [None])
    assert [one.workflow_id for one in storage.find(Filter(tag="eu"), 9).records] == ["b"]
    assert delete(storage, "a") is False


def test_what_has_not_ended_or_not_sent_all_is_not_deleted(storage):
    later = storage.now() + HOUR
    write(storage, start("runs"), start("held", record=record("held", status="suspended")))
    done = record("behind", status="completed", ended=NOON)
    write(storage, start("behind", count=2, mark=Mark("r1", 1), record=done, expires=later))
    says = {}
    for name in ("runs", "held", "behind"):
        with pytest.raises(WorkflowInUse) as refused:
            delete(storage, name)
        says[name] = (refused.value.workflow_id, refused.value.status)
        assert storage.load(name) is not None

    assert says == {"runs": ("runs", "running"), "held": ("held", "suspended"), "behind": ("behind", "completed")}


def test_of_two_who_delete_one_does(storage):
    done = record("a", status="failed", ended=NOON)
    write(storage, start("a", record=done, expires=storage.now()))

    assert sorted(in_threads(*[lambda: delete(storage, "a")] * 4)) == [False, False, False, True]
    write(storage, start("a"))
