"""Makes golden histories, reads and replays them. Nothing of this machine is in a file: paths begin at the house."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from infinitic.backends import Committed
from infinitic.cli.modules import definitions
from infinitic.engine import turns
from infinitic.engine.instance import Instance, Surroundings
from infinitic.engine.programs import Program, program_of
from infinitic.engine.record import state_record
from infinitic.records import Mark, StateRecord, Stored, TurnRow, Version, encode_record
from infinitic.serialization import Serializer
from infinitic.testing import Stage
from infinitic.worker.exports import Exported, exported, exports_in
from infinitic.worker.registry import Registry
from tests.golden import code, samples
from tests.golden.plays import answer

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
FOUND = definitions([*vars(code).values(), *vars(samples).values()])
AROUND = Surroundings(Serializer())


def programs() -> dict[str, Program]:
    """The code of all golden histories."""
    return Registry(FOUND.workflows, codec=Serializer()).programs


def read(file: Path) -> list[Exported]:
    """The runs in a file."""
    with file.open("rb") as lines:
        return list(exports_in(lines, file.name))


def replayed(program: Program, workflow_id: str, bodies: tuple[bytes, ...], starts: tuple[str, ...]) -> StateRecord:
    """What the code makes of these turns today."""
    instance = Instance(program, workflow_id, AROUND)
    turns.replay(instance, bodies)
    record = state_record(instance, starts)
    turns.close(instance)
    return record


def lasting(record: StateRecord) -> Any:
    """A record without what says where code is: lines move when workflows are added."""
    return _without_places(msgspec.json.decode(encode_record(record)))


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items() if key not in ("stack", "traceback")}
    return [_without_places(one) for one in value] if isinstance(value, list) else value


# --- making ---


def make(play: Callable[[Stage], None]) -> bytes:
    """The lines of all runs of a play, in the order in which they began."""
    with Stage(workflows=FOUND.workflows, services=FOUND.services) as stage:
        _script(stage)
        runs = _watched(stage)
        play(stage)
        stored = [_stored(stage, workflow, id, run, rows) for (workflow, id, run), rows in runs.items()]
    text = b"".join(line + b"\n" for one in stored for line in exported(one))
    for place in (f"{HOUSE}/", f"{sys.prefix}/", f"{sys.base_prefix}/"):
        text = text.replace(place.encode(), b"")
    return text


def _script(stage: Stage) -> None:
    stage.script(code.step, answer)
    stage.script(code.slow, lambda seconds: seconds)
    stage.script(samples.Greetings.greet, lambda name: f"Hello, {name}")
    stage.script(samples.Greetings.cheer, lambda text, marks: text + "!" * marks)
    for task in (samples.Mail.send, samples.Customers.suspend, samples.Customers.resume):
        stage.script(task, None)
    for service in (samples.Cars, samples.Flights, samples.Hotels):
        stage.script(service.cancel, None)


def _watched(stage: Stage) -> dict[tuple[str, str, str], list[bytes]]:
    """The turns of each run, from now on: a storage lets go of those of former runs."""
    backend = stage._goings._backend
    runs: dict[tuple[str, str, str], list[bytes]] = {}
    commit = backend.commit

    def watched(*arguments: Any) -> Committed:
        committed = commit(*arguments)
        for step, won in zip(arguments[0], committed.won, strict=True):
            for row in step.append.turns if won and step.append is not None else ():
                runs.setdefault((step.append.workflow, step.append.workflow_id, row.run), []).append(row.body)
        return committed

    backend.commit = watched  # type: ignore[method-assign]  # of this one stage
    return runs


def _stored(stage: Stage, workflow: str, workflow_id: str, run: str, bodies: list[bytes]) -> Stored:
    """A run with its record, which for a former one is made by its replay."""
    [record] = stage._goings.storage.records([workflow_id])
    assert record is not None
    if record.run != run:
        program = program_of(programs(), record)
        assert program is not None
        record = replayed(program, workflow_id, tuple(bodies), ())
    return Stored(
        workflow=workflow,
        workflow_id=workflow_id,
        version=Version(run, len(bodies)),
        mark=Mark(run, len(bodies)),
        token="",
        record=record,
        turns=tuple(TurnRow(run, number, body) for number, body in enumerate(bodies)),
    )


def missing(plays: dict[str, Any]) -> Iterator[str]:
    """The plays that no history was written of."""
    written = {file.stem for file in HERE.glob("*.jsonl")}
    return (name for name in plays if name not in written)
