"""Labels: what instances are found by beside workflow, status, times and id: tags, the parent, what they wait for.

The law of the place: a storage keeps the labels of each record in one index, and knows no more of them.
"""

from __future__ import annotations

from infinitic.records import Filter, StateRecord

LATEST = (1 << 63) - 1
MINUTE = 60_000_000


def labels_of(record: StateRecord) -> tuple[str, ...]:
    """The labels of an instance, each once, in the order of their code points."""
    labels = [f"tag:{tag}" for tag in record.tags]
    if record.caller is not None:
        labels.append(f"parent:{record.caller.workflow_id}")
    for wait in record.waits:
        labels += (f"wait:{wait.name}", f"wait:{wait.kind}")
    return tuple(sorted(set(labels)))


def labels_asked(where: Filter) -> list[str]:
    """The labels that an instance must have, those first that fewer may have."""
    asked = (("parent", where.parent), ("wait", where.waiting), ("tag", where.tag))
    return [f"{kind}:{text}" for kind, text in asked if text]


def starts_asked(where: Filter) -> tuple[int, int]:
    """The instant from which on, and the one before which, an instance must have started; 0 when that does not matter.

    None starts after its end; the clocks that say so may differ by a minute.
    """
    before = [at for at in (where.until, where.ended_until and where.ended_until + MINUTE) if at]
    return where.since, min(before, default=0)


def ends_asked(where: Filter) -> tuple[int, int] | None:
    """The first and the last instant at which an instance may have ended; None when that does not matter."""
    if not where.ended_since and not where.ended_until:
        return None
    return max(where.ended_since, 1), where.ended_until - 1 if where.ended_until else LATEST
