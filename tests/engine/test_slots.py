"""Slots: their names for people, and the errors of what was cancelled."""

from dsl.channels import Channel, Receive
from infinitic.engine.slots import (
    JoinSlot,
    ReceiveSlot,
    RemoteSlot,
    Slot,
    TaskSlot,
    TimerSlot,
    task_label,
)
from infinitic.history import CallIssued, ChildIssued, TaskIssued, TimerIssued

TASK = TaskIssued("m0.0", "Hotels", "book")
CHILD = ChildIssued("m0.1", "trip", "t-1", "r")
CALL = CallIssued("m0.2", "Loyalty", "ada", "redeem")

SLOTS = [
    TaskSlot("m0.0", 0, issued=TASK, decode=bytes),
    RemoteSlot("m0.1", 0, kind="child", issued=CHILD, decode=bytes),
    RemoteSlot("m0.2", 0, kind="call", issued=CALL, decode=bytes),
    TimerSlot("m0.3", 0, issued=TimerIssued("m0.3", 5)),
    ReceiveSlot("m0.4", 0, channel="bonus", decode=bytes, receive=Receive(Channel(int, name="bonus"))),
    JoinSlot("", 0, items=[], rule=lambda join, index: True, losers="cancel", left=0),
    Slot("m0.5", 0),
]


def test_each_says_what_it_is():
    assert [(one.kind, one.label) for one in SLOTS] == [
        ("task", "Hotels.book"),
        ("child", "trip"),
        ("call", "Loyalty.redeem"),
        ("timer", "timer"),
        ("receive", "bonus"),
        ("join", "join"),
        ("", ""),
    ]
    assert task_label(TaskIssued("m0.0", "charge", "charge")) == "charge"


def test_each_has_an_error_for_who_awaits_it_cancelled():
    assert [repr(one.error()) for one in SLOTS[:4]] == [
        "TaskCancelled('Hotels.book', Exception('cancelled'))",
        "WorkflowCancelled('trip', 't-1')",
        "WorkflowCancelled('Loyalty', 'ada')",
        "BranchCancelled('m0.3')",
    ]


def test_slots_are_equal_by_identity_and_share_no_observers():
    assert Slot("m0.5", 0) != SLOTS[-1]
    assert Slot("a", 0).observers == ()
