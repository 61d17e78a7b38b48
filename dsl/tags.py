"""Tags of the instance that runs: changed by commands, so that they are the same on every replay."""

from __future__ import annotations

from msgspec import Struct

from dsl.calls import as_tags
from dsl.commands import INERT, Command, Inert


class ChangeTags(Struct, Command[None], frozen=True):
    """Give the present instance tags, or take some from it."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    inert: Inert = INERT

    @property
    def label(self) -> str:
        """As in `add_tags('vip')`."""
        what = "add_tags" if self.added else "remove_tags"
        return f"{what}({', '.join(map(repr, self.added or self.removed))})"


def add_tags(*tags: str) -> Command[None]:
    """Give the present instance these tags. Done at once; what is issued from then on is told of them.

    Raises `InvalidId` for what cannot be a tag.
    """
    return ChangeTags(added=as_tags(tags, "add_tags()"))


def remove_tags(*tags: str) -> Command[None]:
    """Take these tags from the present instance; one that it has not is no error. Raises as `add_tags` does."""
    return ChangeTags(removed=as_tags(tags, "remove_tags()"))
