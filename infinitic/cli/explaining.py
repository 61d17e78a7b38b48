"""`why`: what an instance waits for, or why it goes on no more, in one paragraph. Reads storage and queues only."""

from __future__ import annotations

import json

import click
from attrs import evolve
from rich.text import Text

from dsl.calls import check_id
from infinitic.backends import Backend
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output, put, put_json
from infinitic.cli.data import reasons_data
from infinitic.cli.reasons import advice, paragraph
from infinitic.cli.settings import Settings, UnknownId, as_json, everywhere, near_ids, open_reader, when_known
from infinitic.errors import UnknownWorkflow
from infinitic.history import decode_turn
from infinitic.records import OPEN
from infinitic.story import Link, NotTakenUp, Reasons, Step, explain, tell
from infinitic.story.reasons import Serving, link, start_of, topic_of, waited_for
from infinitic.topics import workflow_topic
from infinitic.transports import Traffic

DEEPEST = 10
"""So many instances that wait for each other are followed at most."""


@click.command()
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@as_json()
@everywhere(hidden=True)
@click.pass_obj
def why(settings: Settings, workflow_id: str) -> None:
    """Say what an instance waits for.

    Or why it is suspended, how it failed, what it returned: since when, where in the code, who does not serve
    what it needs, and which command helps. Needs no worker.

    \b
    Examples:
      infinitic why trip-42
      infinitic why trip-42 --json
    """
    with open_reader(settings, "infinitic why") as backend:
        reasons, now = read_reasons(backend, workflow_id), backend.storage.now()
    about, said = paragraph(reasons, now)
    helps = [(f"infinitic {command}{settings.repeated()}", what) for command, what in advice(reasons)]
    if settings.json:
        commands = [{"command": command, "does": what} for command, what in helps]
        data = {**reasons_data(reasons), "text": f"{about} {said}", "helps": commands}
        put_json(json.dumps(data, ensure_ascii=False))
        return
    put(Text.assemble((about, "bold"), f" {said}"))
    width = max(len(command) for command, _ in helps)
    for command, what in helps:
        output().print(Text.assemble(f"  {command:<{width}}", (f"  # {what}", "dim")), soft_wrap=True)


def read_reasons(backend: Backend, workflow_id: str) -> Reasons | NotTakenUp:
    """Why an instance stands where it stands. Raises `InvalidId`; `UnknownWorkflow`, which suggests near ids."""
    check_id(workflow_id)
    try:
        return when_known(lambda: _known(backend, workflow_id, patient=True))
    except UnknownWorkflow:
        pass
    try:
        return _known(backend, workflow_id, patient=False)
    except UnknownWorkflow as error:
        raise UnknownId(error, near_ids(backend.storage, workflow_id)) from None


def _known(backend: Backend, workflow_id: str, *, patient: bool) -> Reasons | NotTakenUp:
    """The reasons; of a start that a worker will take up at any moment only if not *patient*."""
    found = _reasons(backend, workflow_id) or _start(backend, workflow_id)
    if found is None or (patient and isinstance(found, NotTakenUp) and found.traffic and found.traffic.consumers):
        raise UnknownWorkflow("", workflow_id)
    return found


def _start(backend: Backend, workflow_id: str) -> NotTakenUp | None:
    found = start_of(workflow_id, backend.transport.on_the_way(workflow_id) or ())
    if found is None:
        return None
    return evolve(found, traffic=_traffic(backend, found.workflow))


def _reasons(backend: Backend, workflow_id: str) -> Reasons | None:
    stored = backend.storage.load(workflow_id)
    if stored is None:
        return None
    story = tell(stored.record, [decode_turn(row.body) for row in stored.turns])
    steps = waited_for(story)
    serving = _serving(backend, {workflow_topic(story.workflow), *map(topic_of, steps)} - {""})
    way = backend.transport.on_the_way(workflow_id) or ()
    chains = {step.position: _chain(backend, step, workflow_id) for step in steps if step.workflow_id}
    return explain(stored, story, serving, way, chains)


def _traffic(backend: Backend, workflow: str) -> Traffic | None:
    [traffic] = backend.transport.traffic([workflow_topic(workflow)])
    return traffic


def _serving(backend: Backend, topics: set[str]) -> Serving:
    names = sorted(topics)
    return dict(zip(names, backend.transport.traffic(names), strict=True))


def _chain(backend: Backend, step: Step, workflow_id: str) -> tuple[Link, ...]:
    """The instance that *step* waits for, the one that this one waits for longest, and so on."""
    chain: list[Link] = []
    workflow, id = step.owner, step.workflow_id
    while id and id not in {workflow_id, *(one.workflow_id for one in chain)} and len(chain) < DEEPEST:
        [record] = backend.storage.records([id])
        start = _start(backend, id) if record is None else None
        if record is not None and record.status in OPEN:
            traffic = _traffic(backend, record.workflow)
        else:
            traffic = start.traffic if start is not None else None
        chain.append(link(start.workflow if start is not None else workflow, id, record, traffic))
        wait = chain[-1].wait
        workflow, id = (wait.name, wait.workflow_id) if wait is not None else ("", "")
    return tuple(chain)
