"""Servers are killed, or stopped, under load, and come back: what they confirmed is there, and all goes on."""

from typing import Any

import pytest

from tests.distributed.ledger import SERVER
from tests.servers.found import private
from tests.servers.mariadb import Mariadb
from tests.servers.mysql import Mysql
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis
from tests.storages.on_mysql import ask
from tests.transports import on_pulsar

pytestmark = pytest.mark.timeout(3600)  # with --proof they are long; each wait has a deadline of its own

KINDS: dict[str, Any] = {"redis": Redis, "mariadb": Mariadb, "mysql": Mysql, "postgres": Postgres}


def url_on(server):
    if server.name in ("redis", "postgres"):
        return server.url
    ask(f"{server.url}/information_schema", "CREATE DATABASE town")
    return f"{server.url}/town"


@pytest.mark.parametrize("kind", KINDS)
def test_a_storage_restarts_under_load(kind, pulsar_url, town_at, crowd_at, tell_repeats, count):
    with private(KINDS[kind]) as server:
        place = {"transport": on_pulsar.fresh(pulsar_url), "storage": url_on(server)}
        town, crowd = town_at(place), crowd_at(place, count(60, 500))
        town.serve(flows=2, tasks=2)
        instances = restarted_under_load(server, town, crowd, count([server.kill], [server.kill, server.stop] * 5))

        tell_repeats(instances, town.end_well())


def test_the_broker_restarts_under_load(place_of, broker, town_at, crowd_at, tell_repeats, count):
    place = place_of("redis") | {"transport": on_pulsar.fresh(broker.url)}
    town, crowd = town_at(place), crowd_at(place, count(60, 500))
    town.serve(flows=2, tasks=2)
    instances = restarted_under_load(broker, town, crowd, count([broker.kill], [broker.kill, broker.stop] * 5))

    tell_repeats(instances, town.end_well())


def restarted_under_load(server, town, crowd, ends):
    """Ended in each of these ways, and started again; how many instances there were."""
    crowd.begin()
    for end in ends:
        crowd.await_progress()
        with town.trouble(SERVER):
            end()
            server.start()
    crowd.await_progress()
    return crowd.finish()
