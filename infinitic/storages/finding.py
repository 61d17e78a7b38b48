"""Finding by SQL: which instances a filter means, and by which index a page of them is read.

The law of the place: an index that gives the newest start first begins with the status, so a page without one is
merged of a piece for each. Where a filter needs several indexes, the one that has the fewest leads, and what it gives
is looked up in the others one by one: that takes long only where all have very many, and hardly any in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec
from attrs import frozen

from infinitic.records import STATUSES, Filter, decode_record
from infinitic.storages import Page, place_of, token_of
from infinitic.storages.labels import ends_asked, labels_asked, starts_asked

COUNTED = 1_000
"""So many are counted to learn which index has the fewest. More than that are never sorted for a page."""
ALL = 1 << 62
FEW = "workflow_id, workflow, status, started, ended"
LAST = "\U0010ffff" * 64
"""Sorts behind every continuation of a prefix: an id has at most 255 bytes."""

Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]


class Said(msgspec.Struct, frozen=True):
    """A piece of SQL, with a question mark for each of its values."""

    text: str
    values: tuple[Any, ...] = ()


class Lead(msgspec.Struct, frozen=True):
    """An index that leads to all that a filter means, and maybe to more: what it *holds* of the filter.

    It is that of a *label*, or one of the heads. *newest* says that it gives the newest start first.
    """

    holds: tuple[Said, ...]
    label: str = ""
    newest: bool = True

    @property
    def table(self) -> str:
        return "labels" if self.label else "heads"


@frozen
class Finder:
    """Finds in the tables `heads` and `labels`, whose names come after *schema*.

    *ask* runs a statement with question marks. *aside* makes of a column one that no index is chosen for.
    """

    ask: Ask
    schema: str = ""
    aside: str = "{}"

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        """`Storage.find`."""
        ids = self._ids(where, self._lead(where), limit + 1, [_follows(*place_of(after))] if after else [])
        # Ids first: no record is read, let alone sorted, that is not on the page.
        asked = f"SELECT heads.record FROM ({ids.text}) AS page CROSS JOIN {self.schema}heads AS heads"
        rows = self.ask(f"{asked} WHERE heads.workflow_id = page.workflow_id", ids.values)
        found = sorted((decode_record(row[0]) for row in rows), key=lambda its: (-its.started, its.workflow_id))
        return Page(tuple(found[:limit]), token_of(found[limit - 1]) if len(found) > limit else "")

    def count(self, where: Filter) -> int:
        """`Storage.count`."""
        ids = self._some(self._lead(where), where, [])
        return int(self.ask(f"SELECT count(*) FROM ({ids.text}) AS found", ids.values)[0][0])

    def condition(self, where: Filter) -> Said:
        """What a filter says of `heads AS led`, for whoever reads them by another index."""
        return _all(self._rest(where, Lead((), newest=False)))

    # ------------------------------------------------------------------------------------------ one page

    def _ids(self, where: Filter, lead: Lead, limit: int, after: list[Said]) -> Said:
        """The ids of a page, in any order."""
        statuses = [where.status] if where.status or not lead.newest else STATUSES
        pieces = [self._piece(msgspec.structs.replace(where, status=one), lead, limit, after) for one in statuses]
        if len(pieces) == 1:
            return pieces[0]
        every = " UNION ALL ".join(f"SELECT * FROM ({piece.text}) AS piece_{n}" for n, piece in enumerate(pieces))
        text = f"SELECT workflow_id FROM ({every}) AS pieces ORDER BY started DESC, workflow_id LIMIT ?"
        return Said(text, (*(value for piece in pieces for value in piece.values), limit))

    def _piece(self, where: Filter, lead: Lead, limit: int, after: list[Said]) -> Said:
        some = self._some(lead, where, after)
        return Said(f"{some.text} ORDER BY led.started DESC, led.workflow_id LIMIT ?", (*some.values, limit))

    def _some(self, lead: Lead, where: Filter, after: list[Said]) -> Said:
        """Id and start of all that the filter means, and that stands behind a place, if one is given."""
        table, held = f"{self.schema}{lead.table}", lead.holds
        if lead.newest:
            held, found = (*_by_start(where), *held), Said(f"{table} AS led WHERE")
        else:  # by its index, for no server looks further than a limit
            few = _all(held)
            found = Said(f"(SELECT {FEW} FROM {table} AS led WHERE {few.text} LIMIT {ALL}) AS led WHERE", few.values)
            held = ()
        its = _all([*held, *self._rest(where, lead), *after])
        return Said(f"SELECT led.workflow_id, led.started FROM {found.text} {its.text}", found.values + its.values)

    # --------------------------------------------------------------------------------------- which index

    def _lead(self, where: Filter) -> Lead:
        """The index that has the fewest; of those with equally many the first."""
        leads = list(_leads(where))
        if len(leads) == 1:
            return leads[0]
        counted = [self._counted(where, lead) for lead in leads]
        asked = "SELECT " + ", ".join(f"({one.text})" for one in counted)
        [counts] = self.ask(asked, [value for one in counted for value in one.values])
        return leads[min(range(len(leads)), key=lambda number: counts[number])]

    def _counted(self, where: Filter, lead: Lead) -> Said:
        """How many this index has, or `COUNTED` where it has more."""
        its = _all([*(_by_start(where) if lead.newest else ()), *lead.holds])
        some = f"SELECT 1 AS one FROM {self.schema}{lead.table} AS led WHERE {its.text} LIMIT {COUNTED}"
        return Said(f"SELECT count(*) FROM ({some}) AS counted", its.values)

    def _rest(self, where: Filter, lead: Lead) -> Iterator[Said]:
        """What the filter says and the index does not hold."""
        for label in labels_asked(where):
            if label != lead.label:
                yield self._labelled(label)
        if where.id_prefix:
            yield _between(self.aside.format("led.workflow_id"), where.id_prefix, where.id_prefix + LAST)
        if not lead.newest:
            yield from (*_workflow(where, "led"), *_by_start(where))
        if not lead.label:
            yield from _ended(where, self.aside.format("led.ended"))
        elif its := [*_workflow(where, "its"), *_ended(where, "its.ended")]:
            yield self._looked_up("heads", [*its, Said("its.workflow_id = led.workflow_id")])

    def _labelled(self, label: str) -> Said:
        its = "its.status = led.status AND its.started = led.started AND its.workflow_id = led.workflow_id"
        return self._looked_up("labels", [Said("its.label = ?", (label,)), Said(its)])

    def _looked_up(self, table: str, its: Iterable[Said]) -> Said:
        """That there is such a row. Not EXISTS, which a server might turn around to begin with this table."""
        asked = _all(its)
        return Said(f"1 = (SELECT 1 FROM {self.schema}{table} AS its WHERE {asked.text})", asked.values)


def _leads(where: Filter) -> Iterator[Lead]:
    labels = labels_asked(where)
    for label in labels:
        yield Lead((Said("led.label = ?", (label,)),), label)
    if where.workflow or not labels:
        yield Lead(tuple(_workflow(where, "led")))
    if where.id_prefix:
        its = _between("led.workflow_id", where.id_prefix, where.id_prefix + LAST)
        yield Lead((its,), newest=False)
    if ends := tuple(_ended(where, "led.ended")):
        yield Lead(ends, newest=False)


def _by_start(where: Filter) -> list[Said]:
    """What is said of status and start. Where any status will do all are named: indexes begin with it."""
    statuses = (where.status,) if where.status else STATUSES
    status = Said(f"led.status IN ({', '.join('?' * len(statuses))})", statuses)
    bounds = zip(("led.started >= ?", "led.started < ?"), starts_asked(where), strict=True)
    return [status, *(Said(text, (at,)) for text, at in bounds if at)]


def _all(said: Iterable[Said]) -> Said:
    pieces = [Said("1 = 1"), *said]
    return Said(" AND ".join(one.text for one in pieces), tuple(value for one in pieces for value in one.values))


def _workflow(where: Filter, table: str) -> list[Said]:
    return [Said(f"{table}.workflow = ?", (where.workflow,))] if where.workflow else []


def _ended(where: Filter, column: str) -> list[Said]:
    ends = ends_asked(where)
    # More than 0 goes without saying, but not for the index, which has no others.
    return [] if ends is None else [Said(f"{column} > 0"), _between(column, *ends)]


def _between(column: str, first: Any, last: Any) -> Said:
    return Said(f"{column} BETWEEN ? AND ?", (first, last))


def _follows(started: int, workflow_id: str) -> Said:
    """What stands behind this place in a list."""
    text = "led.started <= ? AND (led.started < ? OR led.workflow_id > ?)"
    return Said(text, (started, started, workflow_id))
