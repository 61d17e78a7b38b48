"""With no death, no broker that restarts and no key that moves, no task runs twice."""

from tests.distributed.ledger import Account, Ledger


def test_nothing_happens_and_no_task_runs_twice(place_of, town_at, crowd_at, tell_repeats, count):
    place = place_of("redis")
    town, crowd = town_at(place), crowd_at(place, count(60, 500))
    town.serve(flows=2, tasks=2)
    crowd.begin()
    instances = crowd.finish()

    town.end_well()
    # who came before the first instance and went after the last one moved nothing
    assert tell_repeats(instances, Account(Ledger(town.folder).lines(), [])) == {}
