"""`python -m tests.servers`: starts the servers of the tests, and stops them when it, or a command given, ends."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from tests.servers import Server
from tests.servers.fleet import Fleet
from tests.servers.mariadb import Mariadb
from tests.servers.mysql import Mysql
from tests.servers.postgres import Postgres
from tests.servers.pulsar import Pulsar
from tests.servers.redis import Redis

KINDS: dict[str, type[Server]] = {kind.name: kind for kind in (Pulsar, Mysql, Mariadb, Postgres, Redis)}


@click.command()
@click.option("--durable/--fast", help="Whether all that is confirmed is synced to disk, as for benchmarks.")
@click.option("--only", type=click.Choice(list(KINDS)), multiple=True, help="This server alone; may be repeated.")
@click.argument("command", nargs=-1)
def main(*, durable: bool, only: tuple[str, ...], command: tuple[str, ...]) -> NoReturn:
    """Starts every server that the environment does not name already.

    With a COMMAND (after --) they live as long as it does, and its environment names them; without one, until Ctrl-C.
    What is missing is installed where root asks for it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    with Fleet() as fleet:
        fleet.start([KINDS[name] for name in only or KINDS], durable=durable)
        sys.exit(fleet.attend(command))


def leave(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
