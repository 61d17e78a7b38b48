"""Awaited: which of the replies that arrive are believed to be the answer."""

import pytest

from infinitic.client.awaited import Awaited
from infinitic.messages import Reply


@pytest.fixture
def retried():
    """A run whose holder was told of its failure, and had it taken up again."""
    awaited, failed = Awaited("trip", "a", label="trip"), Reply("a", "failed", run="r1")
    awaited.hear(failed, sceptical=False)
    awaited.tell(failed)
    awaited.forget("r1", 1)
    return awaited


def test_a_failure_from_before_the_retry_comes_late_and_is_not_believed(retried):
    retried.hear(Reply("a", "failed", run="r1"), sceptical=False)

    assert retried.news is None


@pytest.mark.parametrize("reply", [Reply("a", "failed", run="r1", retries=1), Reply("a", "completed", run="r2")])
def test_what_came_after_the_retry_is_believed(retried, reply):
    retried.hear(reply, sceptical=False)

    assert retried.news == reply
