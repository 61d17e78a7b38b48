"""Tests of workflows in milliseconds: without a server, a thread or a wait.

`rehearse` runs one workflow, which is answered by the test; `Stage` runs workflows, tasks and a client together, by a
clock that jumps.

    def test_nobody_confirms():
        asked = rehearse(trip("Oslo")).commands
        assert rehearse(trip("Oslo"), [TimerFired(asked[1].position)]).result == "no trip"
"""

from infinitic.testing.answers import (
    Answer,
    CancelRequested,
    ChildCompleted,
    ChildRaised,
    MethodCalled,
    SignalSent,
    TaskCompleted,
    TaskRaised,
    TimedOut,
    TimerFired,
)
from infinitic.testing.errors import Stalled, Undetermined, Unexpected, Unfinished
from infinitic.testing.rehearsing import Asked, Rehearsal, rehearse, replay
from infinitic.testing.stage import Stage

# fmt: off
__all__ = [
    "Answer", "Asked", "CancelRequested", "ChildCompleted", "ChildRaised", "MethodCalled", "Rehearsal", "SignalSent",
    "Stage", "Stalled", "TaskCompleted", "TaskRaised", "TimedOut", "TimerFired", "Undetermined", "Unexpected",
    "Unfinished", "rehearse", "replay",
]
# fmt: on
