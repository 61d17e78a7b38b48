"""`topics` and `storage`: what operators make before workers run that may not make it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from infinitic.backends.urls import open_schema, topic_commands
from infinitic.cli.console import output
from infinitic.cli.modules import Found, load
from infinitic.cli.settings import Settings, everywhere
from infinitic.config import PULSAR, scheme_of, shown
from infinitic.engine.outputs import ROUTER
from infinitic.errors import ConfigurationError, NoStorage
from infinitic.storages.schemas import Schema
from infinitic.topics import dead_topic, service_topic, workflow_topic
from infinitic.worker import Worker


def topics_of(found: Found) -> list[str]:
    """The topics that what was *found* needs, with those for what is refused."""
    registry = Worker("memory://", workflows=found.workflows, services=found.services).registry
    workflows = [*registry.programs, ROUTER] if registry.programs else []
    topics = [*map(workflow_topic, workflows), *map(service_topic, registry.services)]
    return [one for topic in topics for one in (topic, dead_topic(topic))]


@click.command()
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@everywhere(hidden=True)
@click.pass_obj
def topics(settings: Settings, modules: tuple[str, ...]) -> None:
    """Print the commands that make the topics of modules.

    Workers and clients make them by themselves where they may use Pulsar's admin API. Where they may not, an
    operator runs these before the first message is sent: one sent before its subscription exists is lost.

    \b
    Example:
      infinitic topics trips --transport pulsar://host:6650/shop/prod | sh
    """
    config = settings.config()
    if scheme_of(config.transport) not in PULSAR:
        raise ConfigurationError(f"{shown(config.transport)} has no topics to make", "Give --transport pulsar://….")
    for line in topic_commands(config, topics_of(load(modules))):
        output().print(line, soft_wrap=True)


@click.group()
def storage() -> None:
    """Make or upgrade the storage's schema.

    \b
    Examples:
      infinitic storage status
      infinitic storage upgrade --storage postgresql://host/workflows
    """


@storage.command()
@everywhere(hidden=True)
@click.pass_obj
def init(settings: Settings) -> None:
    """Make what the storage needs, where it is not there yet.

    A worker that may do so does it by itself at its first start.
    """
    with _schema(settings, "infinitic storage init") as schema:
        if schema.found():
            _tell(schema)
            return
        schema.bring_up()
        output().print(f"{schema.place}: made schema {schema.wanted}", soft_wrap=True)


@storage.command()
@everywhere(hidden=True)
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Bring the storage's schema up to what this release needs.

    Workers of the release before go on meanwhile and after.
    """
    with _schema(settings, "infinitic storage upgrade") as schema:
        found = schema.found()
        if found in (0, schema.wanted) or found > schema.wanted:
            _tell(schema)
            return
        schema.bring_up()
        output().print(f"{schema.place}: schema {found} became {schema.wanted}", soft_wrap=True)


@storage.command()
@everywhere(hidden=True)
@click.pass_obj
def status(settings: Settings) -> None:
    """Say which schema the storage has, and which this release needs."""
    with _schema(settings, "infinitic storage status") as schema:
        _tell(schema)


def _tell(schema: Schema) -> None:
    found, wanted = schema.found(), schema.wanted
    if found == wanted:
        said = f"schema {found}, which is what this release needs"
    elif not found:
        said = f"no schema yet; `infinitic storage init` makes {wanted}"
    elif found < wanted:
        said = f"schema {found}; `infinitic storage upgrade` makes it {wanted}, which this release needs"
    else:
        said = f"schema {found}, of a newer release; this one needs {wanted}"
    output().print(f"{schema.place}: {said}", soft_wrap=True)


@contextmanager
def _schema(settings: Settings, what: str) -> Iterator[Schema]:
    config = settings.config()
    if config.storage is None:
        raise NoStorage(what)
    with open_schema(config) as schema:
        yield schema
