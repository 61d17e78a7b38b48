"""Connections to a Redis or a Valkey, alone or a cluster: from a URL to answers, and the functions that it runs.

The law of the place: no exception of the driver leaves it, and nothing is sent twice but what its caller allows. A
connection on which something went wrong is closed, lest the answer to one call be taken for that to another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from attrs import frozen
from redis import BlockingConnectionPool, Connection, Redis, RedisCluster, SSLConnection, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from infinitic.advice import advise, version_of
from infinitic.errors import ConfigurationError, StorageError
from infinitic.records import decode_record
from infinitic.storages.labels import labels_of
from infinitic.storages.redis_address import WAIT, Address

log = logging.getLogger("infinitic.storage")

VERSION = 2
LIBRARY = f"infinitic_{VERSION}"
CODE = Path(__file__).with_name("redis.lua").read_text(encoding="utf-8")
WRITES = frozenset({"advance", "append", "claim", "label", "remove"})  # of its functions; the others only read
BUCKETS = 64
LABELLED_AT_ONCE = 500
ATTEMPTS = 3  # of what the server did not take up
LARGEST = 512 << 20  # bytes of one value, where the server does not say

Command: TypeAlias = tuple[Any, ...]
Call: TypeAlias = tuple[int, Command]
"""A bucket, and a command that concerns it alone."""

Again: TypeAlias = Callable[[Sequence[Call]], Sequence[Call]]

UNTAKEN = (exceptions.MovedError, exceptions.ClusterDownError)
REASONS: tuple[tuple[Any, str], ...] = (
    (exceptions.BusyLoadingError, "Wait until it has loaded its data."),
    (exceptions.AuthenticationError, "See the user and the password in the URL."),
    (exceptions.NoPermissionError, "Allow this user ~infinitic:* and +@all."),
    (exceptions.OutOfMemoryError, "Raise its maxmemory, or purge what has ended."),
    (exceptions.ReadOnlyError, "Name the primary."),
    (exceptions.AskError, "A part of the cluster is being moved: wait until that is done."),
    (exceptions.TimeoutError, "See whether the server is overloaded, and the network sound."),
    (exceptions.ConnectionError, "See whether the server runs, and host and port."),
    (exceptions.RedisClusterException, "See CLUSTER INFO, and leave out ?cluster=true where there is no cluster."),
)


# ------------------------------------------------------------------------------------------------ server


class Server:
    """One Redis or a cluster of them, and the beginnings of all keys of one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.address = Address.of(url)
        if not namespace or set(namespace) & set("{}"):
            raise ConfigurationError(f"{namespace!r} is no namespace on Redis", "Use letters, digits, '-' and '_'.")
        self.keys = [f"infinitic:{namespace}:{{b{number}}}:" for number in range(BUCKETS)]
        self.largest = LARGEST
        self._closed = False
        self._cluster: Any = None
        self._pool: Any = None
        with self._explaining():
            self._connect()

    def _connect(self) -> None:
        address = self.address
        pool = {"max_connections": address.pool, "timeout": WAIT, "retry": Retry(NoBackoff(), 0)}
        settings = address.settings | pool
        if not address.cluster:
            kind = SSLConnection if address.tls else Connection
            self._pool = BlockingConnectionPool(connection_class=kind, **settings)
            return
        url = f"{'rediss' if address.tls else 'redis'}://{settings['host']}"
        del settings["db"]
        self._cluster = RedisCluster(url=url, connection_pool_class=BlockingConnectionPool, **settings)

    def close(self) -> None:
        self._closed = True
        for pool in self._pools():
            pool.disconnect()

    # -------------------------------------------------------------------------------------------- asking

    def function(self, bucket: int, name: str, *values: Any) -> Call:
        """The call of one of this release's functions."""
        word = "FCALL" if name in WRITES else "FCALL_RO"
        return bucket, (word, f"{LIBRARY}_{name}", 1, self.keys[bucket], *values)

    def write(self, calls: Sequence[Call], again: Again | None = None) -> list[Any]:
        """The answers, in order. Where a broken connection took them with it, what *again* makes of the calls is sent.

        Raises `StorageError`.
        """
        with self._explaining():
            try:
                return self._taken(calls)
            except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
                if again is None or BUSY in str(error):
                    raise
                self._forget()
                return self._taken(again(calls))

    def read(self, calls: Sequence[Call]) -> list[Any]:
        """The answers to calls that change nothing, in order. Raises `StorageError`."""
        return self.write(calls, list)

    def _taken(self, calls: Sequence[Call]) -> list[Any]:
        """The answers; calls that nobody took up are sent again, once what they lacked is there."""
        answers = self._exchange(calls)
        for _ in range(ATTEMPTS):
            untaken = [number for number, answer in enumerate(answers) if _was_not_taken(answer)]
            if not untaken:
                break
            self._prepare([answers[number] for number in untaken])
            for number, answer in zip(untaken, self._exchange([calls[n] for n in untaken]), strict=True):
                answers[number] = answer
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _prepare(self, errors: Sequence[Exception]) -> None:
        if self._cluster is not None:
            nodes = self._cluster.nodes_manager
            nodes.initialize()
            for error in errors:  # which know better than a node that has not heard of it yet
                if isinstance(error, exceptions.MovedError):
                    nodes.move_slot(error)
        self.load_functions()

    def _exchange(self, calls: Sequence[Call]) -> list[Any]:
        """One round trip, to all nodes at once; an error that a node answers is an answer."""
        answers: list[Any] = [None] * len(calls)
        with ExitStack() as stack:
            sent = []
            for pool, numbers in self._by_node(calls):
                connection = stack.enter_context(_connection(pool))
                connection.send_packed_command(connection.pack_commands([calls[number][1] for number in numbers]))
                sent.append((connection, numbers))
            for connection, numbers in sent:
                for number in numbers:
                    answers[number] = _answer(connection)
        return answers

    def _by_node(self, calls: Sequence[Call]) -> Sequence[tuple[Any, Sequence[int]]]:
        """The pools of the nodes concerned, always in the same order: else two callers might wait for each other."""
        if self._closed:
            raise StorageError(f"{self.address.place} was used after it was closed")
        if self._cluster is None:
            return [(self._pool, range(len(calls)))] if calls else []
        nodes: dict[str, tuple[Any, list[int]]] = {}
        for number, (bucket, _) in enumerate(calls):
            node = self._cluster.get_node_from_key(self.keys[bucket])
            if node is None:
                raise exceptions.ClusterDownError(f"No node serves {self.keys[bucket]}")
            client = self._cluster.get_redis_connection(node)
            nodes.setdefault(node.name, (client.connection_pool, []))[1].append(number)
        return [nodes[name] for name in sorted(nodes)]

    def _forget(self) -> None:
        """Close the connections that are idle: what broke one may have broken the others."""
        for pool in self._pools():
            pool.disconnect(inuse_connections=False)
        if self._cluster is not None:
            self._cluster.nodes_manager.initialize()

    def _pools(self) -> list[Any]:
        if self._cluster is None:
            return [] if self._pool is None else [self._pool]
        return [node.redis_connection.connection_pool for node in self._cluster.get_nodes() if node.redis_connection]

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except exceptions.ReadOnlyError as error:
            self._forget()  # the host may be the name of another node by now
            raise self._explained(error) from error
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> StorageError:
        place = self.address.place
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if BUSY in str(error):
            busy = f"All {self.address.pool} connections to {place} were busy for {WAIT} s"
            return StorageError(busy, "Give a larger ?pool= in the URL, or see why the server is slow.")
        hint = next((hint for kind, hint in REASONS if isinstance(error, kind)), "See the server's log.")
        return StorageError(f"{place}: {said}", hint)

    # ------------------------------------------------------------------------------------ the server itself

    def _primaries(self) -> list[Any]:
        if self._cluster is None:
            return [Redis(connection_pool=self._pool)]
        return [self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()]

    def now(self) -> int:
        """The clock; of a cluster the one most behind, lest anything be due too early. Raises `StorageError`."""
        calls = [(bucket, ("TIME",)) for bucket in range(1 if self._cluster is None else BUCKETS)]
        return min(int(seconds) * 1_000_000 + int(rest) for seconds, rest in self.read(calls))

    def check(self) -> None:
        """Raise `StorageError` when it is too old, or is a cluster and was not said to be one."""
        with self._explaining():
            for primary in self._primaries():
                refuse(self.address, primary.info("server"))

    def load_functions(self) -> None:
        """See that every primary has this release's functions. Raises `StorageError`."""
        with self._explaining():
            for primary in self._primaries():
                found = primary.execute_command("FUNCTION LIST", "LIBRARYNAME", LIBRARY, "WITHCODE")
                if not any(CODE.encode() in library for library in found):
                    primary.function_load(CODE, replace=True)

    def look_at_settings(self) -> None:
        """Learn how large a value may be; warn when acknowledged writes may be lost."""
        found = [one for one in self.settings() if "proto-max-bulk-len" in one]
        self.largest = min([LARGEST, *(int(one["proto-max-bulk-len"]) for one in found)])
        bad = {f"{one.what}. {one.advice}" for its in found for one in advise("redis", its) if one.level == "bad"}
        if bad:
            log.warning("%s: %s", self.address.place, " ".join(sorted(bad)))

    def settings(self) -> list[dict[str, str]]:
        """What each primary is set to, and its version; no more than that where it may not be asked."""
        with self._explaining():
            return [*map(_settings, self._primaries())]


BUSY = "No connection available."


def _settings(primary: Any) -> dict[str, str]:
    """Of a server that lets one ask; not every provider does."""
    try:
        found: dict[str, str] = primary.config_get("append*", "maxmemory*", "proto-max-bulk-len")
    except exceptions.ResponseError:
        found = {}
    info = primary.info("server")
    valkey = {"valkey_version": info["valkey_version"]} if "valkey_version" in info else {}
    return {"version": info["redis_version"]} | found | valkey


def refuse(address: Address, info: Mapping[str, Any]) -> None:
    """Raise when a server that says *info* of itself cannot be used as *address* has it."""
    product, least = ("Valkey", 8) if "valkey_version" in info else ("Redis", 7)
    version = str(info[f"{product.lower()}_version"])
    if version_of(version) < (least,):
        raise StorageError(f"{address.place} is {product} {version}, and {least} or newer is needed", "Upgrade it.")
    if "cluster" in (info.get("redis_mode"), info.get("server_mode")) and not address.cluster:
        raise ConfigurationError(f"{address.place} is a cluster", "Add ?cluster=true to the URL.")


@contextmanager
def _connection(pool: Any) -> Iterator[Any]:
    """One for the caller alone; whatever is raised inside closes it: answers may be left that nobody read."""
    connection = pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except exceptions.ResponseError as error:
        return error


def _was_not_taken(answer: Any) -> bool:
    missing = isinstance(answer, exceptions.ResponseError) and str(answer).startswith("Function not found")
    return missing or isinstance(answer, UNTAKEN)


# ------------------------------------------------------------------------------------------------ versions

Step: TypeAlias = Callable[[Server], None]


def _label(server: Server) -> None:
    """From version 1 to 2: what has tags gets labels."""
    for bucket, p in enumerate(server.keys):
        last = b"-"
        while last:
            [ids] = server.read([(bucket, ("ZRANGEBYLEX", f"{p}ids", last, "+", "LIMIT", 0, LABELLED_AT_ONCE))])
            _label_some(server, bucket, [one[:-9] for one in ids])
            last = b"(" + ids[-1] if ids else b""


def _label_some(server: Server, bucket: int, ids: Sequence[bytes]) -> None:
    while ids:
        found = server.read([(bucket, ("GET", server.keys[bucket].encode() + b"r:" + one)) for one in ids])
        pairs = [(one, data, decode_record(data)) for one, data in zip(ids, found, strict=True) if data is not None]
        described = [(one, data, its.ended, labels_of(its)) for one, data, its in pairs]
        calls = [
            server.function(bucket, "label", one, data, ended, len(labels), *labels)
            for one, data, ended, labels in described
        ]
        ids = [row[0] for row, is_done in zip(described, server.write(calls), strict=True) if not is_done]


STEPS: Mapping[int, Step] = MappingProxyType({1: _label})
"""Version → what changes the keys of a namespace to the next one. Each can be done twice, or by two at once."""


@frozen
class RedisSchema:
    """A `Schema`: the version of what a namespace holds. The functions come with it."""

    server: Server
    wanted: int = VERSION
    steps: Mapping[int, Step] = STEPS

    @property
    def place(self) -> str:
        return self.server.address.place

    def found(self) -> int:
        return int(self.server.read([(0, ("GET", f"{self.server.keys[0]}schema"))])[0] or 0)

    def bring_up(self) -> None:
        self.server.load_functions()
        if not self.found():
            self._advance(0, self.wanted)
        while (version := self.found()) < self.wanted:
            self.steps[version](self.server)
            self._advance(version, version + 1)

    def _advance(self, old: int, new: int) -> None:
        self.server.write([self.server.function(0, "advance", old, new)])
