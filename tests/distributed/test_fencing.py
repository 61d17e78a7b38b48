"""Two workers own the same instances at once, for each gets a copy of every message: the storage decides every turn."""

from tests.distributed.ledger import PERSISTED, Ledger


def test_two_owners_of_every_instance_double_no_turn(place_of, town_at, crowd_at, tell, count):
    place = place_of("redis")
    town = town_at(place)
    copy = place | {"transport": place["transport"] + "&subscription=copy"}
    town.serve(flows=1, tasks=2)
    town.await_serving(town.begin("workflows", copy))
    crowd = crowd_at(place, count(60, 500))
    crowd.begin()
    instances = crowd.finish()

    account = town.end_well()
    turns = [line for line in Ledger(town.folder).lines() if line.what == PERSISTED]
    assert len({line.pid for line in turns}) == 2, "only one of them ever won"
    tell(f"two owners: {instances} instances, {account.tasks} attempts of tasks, sent again {account.sent_again} times")
