"""Receiving: which signal answers which receive. Live that is asked of types and predicates; replay goes by the record.

A signal goes to the first that waits for such a one, a receive takes the first such one that is buffered.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from msgspec.structs import replace

from dsl.channels import Receive
from dsl.commands import described
from dsl.errors import ReadOnly
from dsl.protocol import is_flow
from infinitic.engine.branches import Branch, discard
from infinitic.engine.comparing import diverged
from infinitic.engine.instance import FAILURES, Diverged, Instance
from infinitic.engine.issuing import decoded, failed, record
from infinitic.engine.reading import only_reading
from infinitic.engine.settling import complete, fail
from infinitic.engine.slots import RUNNING, ReceiveSlot, Slot
from infinitic.events import ErrorValue, Signal, SignalReceived
from infinitic.history import ReceiveIssued
from infinitic.serialization import error_value, rebuild

NOBODY = ""
"""Stands in `settled` of a retry for a signal that it left in the mailbox."""

Offered = tuple[ReceiveSlot, ErrorValue | None]
"""Who gets a signal; or who fails, and why."""


def given(instance: Instance, signal: SignalReceived | Signal) -> bool:
    """Whether a receive gets the signal: settle whomever it is offered to, until one has it."""
    offered = _asked if instance.draft.recorded is None else _recorded
    for slot, failure in offered(instance, signal):
        instance.receivers[slot.channel].remove(slot)
        instance.draft.settled += (slot.position,)
        if failure is None:
            complete(instance, slot, _read(instance, slot, signal))
            return True
        instance.draft.raised[slot.position] = failure
        fail(instance, slot, partial(rebuild, failure))
        if not slot.receive.which:  # no predicate failed: it has the signal, and cannot read it
            return True
    return False


def _read(instance: Instance, slot: ReceiveSlot, signal: SignalReceived | Signal) -> Any:
    """The signal as the receiver gets it: nobody's predicate has had it in hand."""
    value, error = decoded(slot.decode, signal.value)
    if error is not None:
        raise instance.unreadable(slot.position, error)
    return value


def _asked(instance: Instance, signal: SignalReceived | Signal) -> Iterator[Offered]:
    """Those that wait for such a signal, or whose predicate fails over it, in the order in which they began."""
    for slot in tuple(instance.receivers.get(signal.channel, ())):
        if slot.status == RUNNING:  # it may have lost by what the one before it made of the signal
            with _looking(instance, slot.receive):
                fits, failure = _fits(slot, signal)
            if fits or failure is not None:
                yield slot, failure


def _recorded(instance: Instance, signal: SignalReceived | Signal) -> Iterator[Offered]:
    """Those that history says, from the first that this turn has not settled yet."""
    recorded = instance.draft.recorded
    assert recorded is not None
    for position in recorded.settled[len(instance.draft.settled) :]:
        slot = instance.open.get(position)
        if not isinstance(slot, ReceiveSlot) or slot.channel != signal.channel:
            return
        yield slot, recorded.raised.get(position)


def _fits(slot: ReceiveSlot, signal: SignalReceived | Signal) -> tuple[bool, ErrorValue | None]:
    """Whether the receive is for the signal; or why it fails: its predicate did, or what was kept cannot be read."""
    receive = slot.receive
    value, unreadable = decoded(slot.decode, signal.value)
    if unreadable is not None:
        return False, error_value(unreadable) if isinstance(signal, Signal) and not receive.which else None
    if not receive.which:
        return True, None
    try:
        return (receive.type is None or isinstance(value, receive.type)) and _says(receive, value), None
    except FAILURES as error:
        return False, error_value(error)


def _looking(instance: Instance, receive: Receive[Any]) -> AbstractContextManager[None]:
    """Around what a predicate does. What it changes cannot be undone, and no replay would do it: that suspends."""

    def changed() -> Diverged:
        instance.divergence = Diverged(ReadOnly(f"a change of the instance's attributes by {receive.label}"))
        return instance.divergence

    return only_reading(instance, changed) if receive.where is not None else nullcontext()


def _says(receive: Receive[Any], value: Any) -> bool:
    answer = receive.where is None or receive.where(value)
    if is_flow(answer):
        discard(answer)
        raise ReadOnly("something to wait for")
    return bool(answer)


def issue_receive(instance: Instance, branch: Branch, receive: Receive[Any]) -> Slot:
    """Wait for a signal; the oldest buffered one that it is for answers at once."""
    channel = receive.channel
    decode = instance.surroundings.codec.decoder(channel.type)
    asked = ReceiveIssued(branch.place(), channel.name, which=receive.which)
    issued: ReceiveIssued = record(instance, branch, receive, asked)
    slot = ReceiveSlot(issued.position, instance.at, channel=channel.name, decode=decode, receive=receive)
    commands, mailbox = instance.draft.commands, instance.mailboxes.get(channel.name, [])
    if commands and commands[-1] is issued:
        commands[-1] = issued = _first(instance, slot, issued, mailbox)
    signal = next((one for one in mailbox if one.id == issued.signal), None) if issued.signal else None
    if signal is not None:
        mailbox.remove(signal)
    elif issued.signal:
        raise diverged(instance, branch, issued.position, issued, described(receive))
    if issued.failure is not None:
        return failed(instance, slot, issued.failure)
    if signal is not None:
        return complete(instance, slot, _read(instance, slot, signal))
    instance.open[issued.position] = slot
    instance.receivers.setdefault(channel.name, []).append(slot)
    return slot


def _first(instance: Instance, slot: ReceiveSlot, issued: ReceiveIssued, mailbox: list[Signal]) -> ReceiveIssued:
    """The record with the first buffered signal that the receive is for, and with what is wrong with that."""
    with _looking(instance, slot.receive):
        for signal in mailbox:
            fits, failure = _fits(slot, signal)
            if failure is not None:
                return replace(issued, signal="" if issued.which else signal.id, failure=failure)
            if fits:
                return replace(issued, signal=signal.id)
    return issued
