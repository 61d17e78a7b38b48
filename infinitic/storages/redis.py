"""Instances in a Redis or a Valkey, alone or a cluster.

An instance lies whole in one of 64 buckets, which its id names. What is done to it is one call of a function on the
server (`redis.lua`), so one atomic step; what is asked of many instances is one pipeline of such calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from msgspec.structs import astuple, replace

from infinitic.clock import Clock
from infinitic.errors import StorageError
from infinitic.records import Append, Filter, StateRecord, Stored, TimerRow, TurnRow, decode_record
from infinitic.storages import Due, Page, Past, place_of, purge_in_pages, token_of
from infinitic.storages.redis_rows import (
    bucket_of,
    claim_of,
    expiry_place,
    free_since,
    in_order,
    past_of,
    record_of,
    sent_again,
    share_of,
    start_place,
    stored_of,
    timer_of,
    turns_of,
    values_of,
    where_of,
)
from infinitic.storages.redis_server import BUCKETS, Call, RedisSchema, Server
from infinitic.storages.schemas import check_schema

PACKET = 16 << 20  # bytes of appends that travel together
PURGED_AT_ONCE = 500


class RedisStorage:
    """A `Storage` in one namespace of a Redis. Thread-safe. Its clock is the server's; tests may give another."""

    def __init__(self, server: Server, clock: Clock | None = None) -> None:
        self._server, self._clock = server, clock

    @classmethod
    def open(
        cls, url: str, *, namespace: str = "default", makes: bool = True, clock: Clock | None = None
    ) -> RedisStorage:
        """Connects, and makes what is absent if *makes*. Raises `ConfigurationError` or `StorageError`."""
        server = Server(url, namespace)
        try:
            server.check()
            check_schema(RedisSchema(server), makes=makes)
            server.load_functions()
            server.look_at_settings()
        except BaseException:
            server.close()
            raise
        return cls(server, clock)

    @staticmethod
    @contextmanager
    def schema_of(url: str, *, namespace: str = "default") -> Iterator[RedisSchema]:
        """The schema as it is, for operators: it may be absent or old."""
        server = Server(url, namespace)
        try:
            server.check()
            yield RedisSchema(server)
        finally:
            server.close()

    @property
    def schema(self) -> RedisSchema:
        return RedisSchema(self._server)

    def now(self) -> int:
        return self._clock() if self._clock else self._server.now()

    def server_settings(self) -> Mapping[str, str]:
        """Those of the first primary."""
        return self._server.settings()[0]

    def _given_clock(self) -> int | str:
        return self._clock() if self._clock else ""

    def close(self) -> None:
        self._server.close()

    def _on(self, workflow_id: str, function: str, *values: Any) -> Call:
        return self._server.function(bucket_of(workflow_id), function, workflow_id, *values)

    def _key(self, kind: str, workflow_id: str) -> str:
        return f"{self._server.keys[bucket_of(workflow_id)]}{kind}:{workflow_id}"

    def _everywhere(self, function: str, *values: Any) -> list[Any]:
        return self._server.read([self._server.function(number, function, *values) for number in range(BUCKETS)])

    # ------------------------------------------------------------------------------------------- reading

    # The turns of the current run are read beside the function, which would copy each of them twice: what the function
    # gave before is right for them if the run was still the same after.

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        calls = [self._on(workflow_id, "load"), self._turns(workflow_id, from_turn), self._on(workflow_id, "run")]
        found, bodies, run_after = self._server.read(calls)
        if run_after != (found and found[1][0]):
            return self.load(workflow_id, from_turn, run)
        if found is None:
            return None
        stored = stored_of(workflow_id, found, from_turn, bodies)
        return self.load(workflow_id) if from_turn and run and run != stored.version.run else stored

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        where = self._on(workflow_id, "where", run)
        key, bodies, key_after = self._server.read([where, self._turns(workflow_id, 0), where])
        if key != key_after:
            return self.history(workflow_id, run)
        if key is None:
            return ()
        if key.decode() != self._key("t", workflow_id):  # of a former run, to which nothing is added any more
            bodies = self._server.read([(bucket_of(workflow_id), ("LRANGE", key, 0, -1))])[0]
        return turns_of(run, 0, bodies)

    def _turns(self, workflow_id: str, first: int) -> Call:
        return bucket_of(workflow_id), ("LRANGE", self._key("t", workflow_id), first, -1)

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        found = self._server.read([(bucket_of(id), ("GET", self._key("r", id))) for id in workflow_ids])
        return [None if data is None else decode_record(data) for data in found]

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        begin = start_place(*place_of(after)) if after else b""
        found = self._merged("find", where, begin, limit + 1, 2)
        records = self._records_of(found[:limit])
        return Page(records, token_of(records[-1]) if records and len(found) > limit else "")

    def _records_of(self, found: Sequence[tuple[bytes, bytes]]) -> tuple[StateRecord, ...]:
        """The records that were found; those that were left out are read now, and may be gone."""
        ids = [place[8:].decode() for place, _ in found]
        late = iter(self.records([id for id, (_, record) in zip(ids, found, strict=True) if record == b""]))
        all_ = (next(late) if data == b"" else record_of(id, data) for id, (_, data) in zip(ids, found, strict=True))
        return tuple(record for record in all_ if record is not None)

    def count(self, where: Filter) -> int:
        total, asked = 0, where_of(where)
        begins = dict.fromkeys(range(BUCKETS), b"")
        while begins:
            calls = [self._server.function(bucket, "count", begin, *asked) for bucket, begin in begins.items()]
            answers = dict(zip(begins, self._server.read(calls), strict=True))
            total += sum(number for _, number in answers.values())
            begins = {bucket: begin for bucket, (begin, _) in answers.items() if begin}
        return total

    def _merged(self, function: str, where: Filter, begin: bytes, limit: int, width: int) -> list[tuple[Any, ...]]:
        """The first *limit* rows of *width* values that follow *begin* in the order of their first.

        Each bucket is asked for its share and a little more; only those of which more is needed are asked again.
        """
        asked, share = where_of(where), share_of(limit)
        found: list[tuple[Any, ...]] = []
        begins = dict.fromkeys(range(BUCKETS), begin)
        while begins:
            calls = [self._server.function(bucket, function, at, share, *asked) for bucket, at in begins.items()]
            for bucket, (at, *rows) in zip([*begins], self._server.read(calls), strict=True):
                found += (row for row in zip(*[iter(rows)] * width, strict=True) if row[0] > begins[bucket])
                begins[bucket] = at
            found = sorted(found)[:limit]
            begins = {bucket: at for bucket, at in begins.items() if at and (len(found) < limit or at < found[-1][0])}
            share = min(2 * share, limit)
        return found

    # ------------------------------------------------------------------------------------------- writing

    def append(self, batch: Sequence[Append]) -> list[bool]:
        won: list[bool] = []
        for some in list(self._packets(batch)):  # so that nothing is written where one of them is too large
            won += (answer == 1 for answer in self._server.write(some, sent_again))
        return won

    def _packets(self, batch: Sequence[Append]) -> Iterator[list[Call]]:
        packet: list[Call] = []
        size = 0
        for append in batch:
            values = values_of(append, self._given_clock())
            sizes = [len(value) for value in values if isinstance(value, bytes)]
            if max(sizes) > self._server.largest:
                raise StorageError(
                    f"{append.workflow_id} was to write {max(sizes):,} bytes at once, and the Redis takes"
                    f" {self._server.largest:,}",
                    "Raise its proto-max-bulk-len, or keep large values elsewhere.",
                )
            if packet and size + sum(sizes) > PACKET:
                yield packet
                packet, size = [], 0
            packet.append(self._on(append.workflow_id, "append", *values))
            size += sum(sizes)
        yield packet

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        begin = expiry_place(after) if after else b""
        found = self._merged("ended", where, begin, limit, 7)
        return tuple(past_of(*row) for row in found)

    def remove(self, past: Sequence[Past]) -> list[bool]:
        calls = [self._on(one.record.workflow_id, "remove", *astuple(one.version)) for one in past]
        return [answer == 1 for answer in self._server.write(calls)]

    def purge(self, now: int) -> int:
        return purge_in_pages(self, now, PURGED_AT_ONCE)

    def compact(self) -> int:
        return 0

    # -------------------------------------------------------------------------------------------- sweeps

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        now, free = self._free_timers(workflows, ahead, limit)
        claimed = got = self._claim(free, now, lease)
        while len(got) < len(free):  # others were faster with some, and may have left more behind them
            _, free = self._free_timers(workflows, ahead, limit - len(claimed))
            got = self._claim(free, now, lease)
            claimed += got
        return Due(now, tuple(sorted(claimed, key=in_order)))

    def _free_timers(self, workflows: Sequence[str], ahead: int, limit: int) -> tuple[int, list[TimerRow]]:
        """The clock, and the *limit* timers that were free first."""
        share = share_of(limit)
        now, found = self._due(range(BUCKETS), workflows, ahead, share)
        rows = sorted(found, key=free_since)
        taken = Counter((bucket_of(row.workflow_id), row.workflow) for row in rows[:limit])
        short = {bucket for (bucket, _), number in taken.items() if share <= number < limit}
        if short:  # all that these gave is among the first: more of theirs may be
            _, more = self._due(short, workflows, ahead, limit)
            rows = sorted({*rows, *more}, key=free_since)
        return now, rows[:limit]

    def _due(
        self, buckets: Collection[int], workflows: Sequence[str], ahead: int, limit: int
    ) -> tuple[int, list[TimerRow]]:
        asked = (self._given_clock(), ahead, limit, len(workflows), *workflows)
        answers = self._server.read([self._server.function(bucket, "due", *asked) for bucket in buckets])
        rows = [timer_of(row) for _, *rows in answers for row in rows]
        return min(int(clock) for clock, *_ in answers), rows

    def _claim(self, rows: Sequence[TimerRow], now: int, lease: int) -> list[TimerRow]:
        """Those of *rows* that are as they were, claimed."""
        claimed = [replace(row, claimed_until=max(now, row.due) + lease) for row in rows]
        pairs: dict[int, list[tuple[TimerRow, TimerRow]]] = {}
        for row, wanted in zip(rows, claimed, strict=True):
            pairs.setdefault(bucket_of(row.workflow_id), []).append((row, wanted))
        calls = [
            self._server.function(bucket, "claim", *chain.from_iterable(claim_of(*pair) for pair in its))
            for bucket, its in pairs.items()
        ]
        answers = zip(pairs.values(), self._server.write(calls), strict=True)
        return [pair[1] for its, won in answers for pair, one in zip(its, won, strict=True) if one]

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        wanted = [text for pair in fingerprints.items() for text in pair]
        answers = self._everywhere("offers", behind_since, share_of(limit), *wanted)
        found = {(workflow.decode(), id.decode()): None for answer in answers for workflow, id in answer}
        return [*found][:limit]
