"""Tags: what an instance is found by, followed through its history with and without its code."""

from __future__ import annotations

from collections.abc import Mapping

from infinitic.events import Retried, Started, TagsChanged
from infinitic.history import TagsIssued, Turn

Tags = tuple[str, ...]


def changed(tags: Tags, by: TagsIssued | TagsChanged) -> Tags:
    """The tags after a change: sorted, each once. What is both taken and given is there."""
    return tuple(sorted({*tags, *by.added}.difference(set(by.removed).difference(by.added))))


def in_turns(history: Mapping[int, Turn]) -> dict[int, Tags]:
    """With which tags each turn of a run began to send, by its number: those after its event, told without code.

    A retry begins with those of the turn that it voids, whose commands count no more.
    """
    begun: dict[int, Tags] = {}
    tags: Tags = ()
    for number, turn in history.items():
        match turn.event:
            case Started():
                tags = turn.event.tags
            case TagsChanged():
                tags = changed(tags, turn.event)
            case Retried(voids=voids) if voids in begun:
                tags = begun[voids]
        begun[number] = tags
        for issued in turn.commands:
            tags = changed(tags, issued) if isinstance(issued, TagsIssued) else tags
    return begun
