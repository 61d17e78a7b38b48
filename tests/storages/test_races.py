"""Fencing: of all who write to the same version at once exactly one wins, and what is there is the winner's."""

from functools import partial
from itertools import chain
from threading import Barrier

import pytest

from infinitic.records import TurnRow, Version
from tests.storages.given import after, in_threads, loaded, record, start, write

WRITERS = 4

pytestmark = pytest.mark.timeout(1_800)


def race(rounds, attempt):
    """For each round, who won: all make the same *attempt* at once, each as one of the writers."""
    barrier = Barrier(WRITERS)

    def run(writer):
        won = []
        for number in range(rounds):
            barrier.wait()
            won += [(number, writer)] * attempt(number, writer)
        return won

    return sorted(chain.from_iterable(in_threads(*(partial(run, writer) for writer in range(WRITERS)))))


def test_of_all_who_write_the_same_turn_exactly_one_wins(storage, count):
    rounds = count(200, 10_000)
    write(storage, start(count=0))

    def attempt(number, writer):
        here = start(version=Version("r1", number))
        turn = TurnRow("r1", number, f"{writer}".encode())
        return storage.append([after(here, 1, turns=(turn,), token=f"{writer}")])[0]

    won = race(rounds, attempt)

    assert [number for number, _ in won] == [*range(rounds)]
    stored = loaded(storage)
    assert [int(turn.body) for turn in stored.turns] == [writer for _, writer in won]
    assert (stored.version, stored.token) == (Version("r1", rounds), f"{won[-1][1]}")


def test_of_all_who_start_the_same_instance_exactly_one_wins(storage, count):
    rounds = count(50, 2_000)

    def attempt(number, writer):
        name = f"trip-{number}"
        return storage.append([start(name, token=f"{writer}", record=record(name, reason=f"{writer}"))])[0]

    won = race(rounds, attempt)

    assert [number for number, _ in won] == [*range(rounds)]
    there = [loaded(storage, f"trip-{number}") for number in range(rounds)]
    assert [(int(stored.token), int(stored.record.reason)) for stored in there] == [(w, w) for _, w in won]


def test_one_loser_in_a_batch_costs_the_others_nothing(storage, count):
    rounds = count(50, 2_000)
    mine = [f"mine-{writer}" for writer in range(WRITERS)]
    write(storage, *(start(name, count=0) for name in ("ours", *mine)))

    def attempt(number, writer):
        version = Version("r1", number)
        batch = [after(start(name, version=version), 1, token=f"{writer}") for name in (mine[writer], "ours")]
        own, shared = storage.append(batch if writer % 2 else batch[::-1])[:: 1 if writer % 2 else -1]
        assert own
        return shared

    assert [number for number, _ in race(rounds, attempt)] == [*range(rounds)]
    versions = [storage.load(name).version for name in ("ours", *mine)]
    assert versions == [Version("r1", rounds)] * (1 + WRITERS)
