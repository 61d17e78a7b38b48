"""Golden histories: what earlier releases have written replays for ever, and comes to the same.

To add one, write a workflow at the end of `code.py` and a play at the end of `plays.py`, and run
`python -m tests.golden`. What lies here already is never written anew: a history that does not replay any more is a
fault of the engine.
"""

from typing import get_args

import pytest

from infinitic import history
from infinitic.engine.arriving import ARRIVE
from infinitic.engine.programs import program_of
from infinitic.history import decode_turn, encode_turn
from infinitic.worker.checking import check_instance
from infinitic.worker.exports import exported
from tests.golden.made import AROUND, HERE, HOUSE, lasting, missing, programs, read, replayed
from tests.golden.plays import PLAYS

FILES = sorted(HERE.glob("*.jsonl"))
PROGRAMS = programs()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_history_replays_to_the_same_record(file):
    runs = read(file)

    assert runs
    for one in runs:
        record = one.header.record
        program = program_of(PROGRAMS, record)
        assert program is not None
        again = replayed(program, one.header.workflow_id, one.bodies, record.starts)
        assert lasting(again) == lasting(record)
        assert check_instance(one.stored, program, AROUND).problem is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_history_is_written_again_as_it_was(file):
    runs = read(file)

    assert [[*exported(one.stored)][1:] for one in runs] == [[*one.bodies] for one in runs]
    assert [encode_turn(decode_turn(body)) for one in runs for body in one.bodies] == [
        body for one in runs for body in one.bodies
    ]
    assert str(HOUSE).encode() not in file.read_bytes()


def test_there_is_a_history_of_each_play():
    assert list(missing(PLAYS)) == []
    assert {file.stem for file in FILES} == set(PLAYS)


def test_there_is_a_history_of_every_kind_of_event_and_command():
    turns = [decode_turn(body) for file in FILES for one in read(file) for body in one.bodies]
    seen: set[type] = {type(turn.event) for turn in turns}
    seen |= {type(one) for turn in turns for one in (*turn.commands, *turn.sends)}

    assert seen == {*ARRIVE, *get_args(history.AnyIssued), *get_args(history.AnySend)}
