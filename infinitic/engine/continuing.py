"""Continue-as-new: a run ends in favour of the next, which keeps signals, senders, tags and whoever waits."""

from __future__ import annotations

from msgspec import structs

from dsl.errors import ProtocolError
from dsl.inlines import ContinueAsNew
from infinitic.engine.branches import Branch
from infinitic.engine.ending import end_run
from infinitic.engine.instance import Instance
from infinitic.engine.issuing import failed, payload, record, start_fields
from infinitic.engine.slots import Slot
from infinitic.events import Started
from infinitic.history import ContinueIssued, End
from infinitic.records import CONTINUED


def continue_as_new(instance: Instance, branch: Branch, command: ContinueAsNew) -> Slot | None:
    """End the run in favour of the next; a failed slot if its arguments cannot be sent. Raises `ProtocolError`."""
    call = command.call
    if len(instance.methods) > 1 or branch.method.branch is not branch or branch.method.ordinal or branch.held:
        raise ProtocolError(
            "continue_as_new() works in the run's first method only, outside spawned branches, "
            "and when no other method and no cleanup runs: wait for them first."
        )
    if call.definition.owner != instance.program.name:
        other = f"{instance.program.name}, not as {call.definition.owner}"
        raise ProtocolError(f"continue_as_new() goes on as {other}.")
    signature = instance.surroundings.signatures[call.definition]
    arguments, failure = payload(instance, call.arguments, signature.decode_arguments)
    position = branch.place()
    asked = ContinueIssued(position, arguments=arguments, failure=failure, **start_fields(call))
    issued = record(instance, branch, command, asked, signature.arguments_type)
    if issued.failure is not None:
        return failed(instance, Slot(issued.position, instance.at), issued.failure)
    instance.methods.clear()
    instance.draft.continued = _next_start(instance, issued)
    end_run(instance, End(CONTINUED))
    return None


def _next_start(instance: Instance, issued: ContinueIssued) -> Started:
    old, options = instance.started, issued.options
    assert old is not None
    return structs.replace(
        old,
        id=issued.run,
        version=0,
        run=issued.run,
        method=issued.method,
        arguments=issued.arguments,
        tags=tuple(options.get("tags", instance.tags)),
        meta={**old.meta, **options.get("meta", {})},
        timeout=options.get("timeout", old.timeout),
        cleanup_timeout=options.get("cleanup_timeout", old.cleanup_timeout),
        retention=options.get("retention", old.retention),
        delay=options.get("delay", 0),
        start_at=options.get("start_at", 0),
        also=None,
        previous=instance.run,
        first=old.first or old.run,
        began=instance.began,
        signals=tuple(signal for mailbox in instance.mailboxes.values() for signal in mailbox),
        senders=tuple(instance.senders),
    )
