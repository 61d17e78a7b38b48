"""The simulation: worlds full of troubles in which every promise is kept, and the tools that tell when one is not."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from infinitic.worker.batches import Conductor
from tests.simulation.chance import Chance, record_of, token
from tests.simulation.running import run, run_seeds, told
from tests.simulation.shrinking import shrunk


@pytest.fixture(autouse=True)
def little_garbage() -> Iterator[None]:
    """Each world collects its garbage: what thousands of tests before have left would be looked through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.timeout(3 * 3600)
def test_every_promise_is_kept_whatever_goes_wrong(
    request: pytest.FixtureRequest, count: Callable[[int, int], int]
) -> None:
    seeds = request.config.getoption("--seeds") or count(2_000, 100_000)

    result = run_seeds(range(seeds))

    assert not result.broken, told(*result.broken[0])


def test_a_seed_is_the_same_world_each_time() -> None:
    first, again = run(7, traced=True), run(7, traced=True)

    assert first == again
    assert run(record=first.record, traced=True) == first


# --- a promise that is broken is found, shrunk, and told with a token that replays it ---


def test_a_broken_promise_is_found_and_shrunk_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here: who loses a race forgets what it was to apply."""
    monkeypatch.setattr(Conductor, "_lost", lambda conductor, change: None)

    seed, broken = next((seed, ran) for seed in range(300) if (ran := run(seed)).broken)
    record = record_of(told(seed, broken.broken, seconds=5).rpartition("--replay ")[2])

    assert run(record=record).broken.partition(":")[0] == broken.broken.partition(":")[0]
    assert len(record) < len(broken.record)


def test_a_record_shrinks_to_what_breaks() -> None:
    breaks = lambda record: list(record) if 7 in record and 3 in record else None  # noqa: E731

    assert sorted(one for one in shrunk([5, 7, 1, 9, 3, 2, 8], breaks, seconds=5) if one) == [3, 7]


def test_chance_plays_its_record_again_and_goes_on_as_simply_as_can_be() -> None:
    drawn = Chance(seed=3)
    choices = [drawn.below(10) for _ in range(5)]
    again = Chance(record=record_of(token(drawn.record)))

    assert [again.below(10) for _ in range(8)] == [*choices, 0, 0, 0]


def test_what_is_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="is no token of a simulation"):
        record_of("abc")
