"""Configuration: keywords, environment and files become one frozen `Config`.

The law of the place: the highest source that names a setting decides it (keyword, `INFINITIC_*`,
`infinitic.toml`, `[tool.infinitic]` of `pyproject.toml`, the default); each value is checked, and an error
names its source.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from attrs import Factory, evolve, field, frozen

from infinitic.errors import ConfigurationError
from infinitic.messages import FORMAT

DEFAULT_URL = "sqlite:///.infinitic/infinitic.db"
EMBEDDED = frozenset({"sqlite", "memory"})
"""Schemes whose one URL names transport and storage alike."""
PULSAR = frozenset({"pulsar", "pulsar+ssl"})

PREFIX = "INFINITIC_"
DAY = 86_400.0
MEBIBYTE = 1 << 20
LARGEST = 5 * MEBIBYTE - 1024
"""What a Pulsar broker takes as one message unless it is configured otherwise (`maxMessageSize`), less what the
client puts beside it: the key, the producer's name."""
ENVELOPE = MEBIBYTE >> 4
"""What is left for a message beside its payload."""


def scheme_of(url: str) -> str:
    """What stands before "://", "" when nothing does."""
    return url.partition("://")[0] if "://" in url else ""


def shown(url: str) -> str:
    """*url* as it may be printed: without its passwords."""
    plain = re.sub(r"//([^/@:]*):.*@", r"//\1:***@", url)
    return re.sub(r"([?&](?:token|password)=)[^&]*", r"\1***", plain)


def _show(url: str | None) -> str:
    return repr(url if url is None else shown(url))


@frozen
class Config:
    """All that can be configured, checked. Make one with `load_config`."""

    transport: str = field(repr=_show)
    storage: str | None = field(default=None, repr=_show)
    namespace: str = "default"
    retention: float = 7 * DAY  # seconds that a finished instance is kept
    format: int = FORMAT  # of the messages and turns that are written
    concurrency: int = 16  # tasks at once, by worker
    cache_instances: int = 10_000
    cache_bytes: int = 256 * MEBIBYTE
    durability: Literal["full", "normal"] = "full"  # "normal" may lose the last commits when the power fails
    pulsar: Mapping[str, Any] = field(default=Factory(dict), repr=False)  # may hold credentials

    @property
    def largest_payload(self) -> int | None:
        """How many bytes one value may take so that a message can carry it; None where that has no limit."""
        if scheme_of(self.transport) not in PULSAR:
            return None
        given = {**self.pulsar, **url_settings(self.transport, "pulsar")}
        return max(int(given.get("largest_message", LARGEST)) - ENVELOPE, ENVELOPE)


@frozen
class Setting:
    """How one setting is read: *parse* from the environment's text, *fits* whatever it came from."""

    expected: str
    fits: Callable[[Any], bool]
    parse: Callable[[str], object] = str
    secret: bool = False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_url(value: object) -> bool:
    return isinstance(value, str) and bool(scheme_of(value))


def _truth(text: str) -> bool:
    """What an environment variable or a URL says for true and false. Raises `ValueError`."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


_URL = Setting(f"a URL, as in {DEFAULT_URL}", _is_url)
_COUNT = Setting("a whole number from 1 on", lambda value: _is_whole(value) and value >= 1, int)
_SIZE = Setting("a whole number from 0 on", lambda value: _is_whole(value) and value >= 0, int)
_SECONDS = Setting("a number of seconds, 0 or more", _is_seconds, float)
_TEXT = Setting("a text", _is_text)
_SECRET = Setting("a text", _is_text, secret=True)
_TRUTH = Setting("true or false", lambda value: isinstance(value, bool), _truth)

SETTINGS: Mapping[str, Setting] = {
    "transport": _URL,
    "storage": _URL,
    "namespace": Setting(
        "a name of letters, digits, '_', '.' and '-'",
        lambda value: isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][\w.-]*", value, re.ASCII)),
    ),
    "retention": _SECONDS,
    "format": Setting(
        f"{FORMAT} or {FORMAT + 1}", lambda value: _is_whole(value) and value in (FORMAT, FORMAT + 1), int
    ),
    "concurrency": _COUNT,
    "cache_instances": _SIZE,
    "cache_bytes": _SIZE,
    "durability": Setting("'full' or 'normal'", lambda value: value in ("full", "normal")),
    "pulsar.admin_url": Setting("a URL, as in http://localhost:8080", _is_url),
    "pulsar.admin_proxy": _URL,
    "pulsar.partitions": _COUNT,  # of the topics that are made
    "pulsar.subscription": _TEXT,
    "pulsar.token": _SECRET,
    "pulsar.token_file": _TEXT,
    "pulsar.user": _TEXT,
    "pulsar.password": _SECRET,
    "pulsar.oauth2_issuer": _URL,
    "pulsar.oauth2_key_file": _TEXT,
    "pulsar.oauth2_audience": _TEXT,
    "pulsar.oauth2_scope": _TEXT,
    "pulsar.tls_certificate": _TEXT,
    "pulsar.tls_key": _TEXT,
    "pulsar.tls_trust": _TEXT,
    "pulsar.tls_insecure": _TRUTH,
    "pulsar.tls_hostname": _TRUTH,  # whether the host's name must be the certificate's
    "pulsar.listener": _TEXT,
    "pulsar.operation_timeout": _SECONDS,
    "pulsar.connection_timeout": _SECONDS,
    "pulsar.send_timeout": _SECONDS,
    "pulsar.io_threads": _COUNT,
    "pulsar.lookups": _COUNT,
    "pulsar.workflow_queue": _COUNT,  # messages on their way to a consumer, by partition
    "pulsar.service_queue": _COUNT,
    "pulsar.pending": _COUNT,
    "pulsar.largest_message": _COUNT,  # bytes
    "pulsar.compression": Setting(
        "'none', 'lz4', 'zlib', 'zstd' or 'snappy'", lambda value: value in ("none", "lz4", "zlib", "zstd", "snappy")
    ),
    "pulsar.batching": _TRUTH,
    "pulsar.batching_delay": _SECONDS,
    "pulsar.batching_messages": _COUNT,
    "pulsar.producer_name": _TEXT,
    "pulsar.consumer_name": _TEXT,
}
"""Every setting that there is; one with a dot lives in a table."""

TABLES = frozenset(name.partition(".")[0] for name in SETTINGS if "." in name)


@frozen
class Source:
    """One place that settings come from. *call* says how it names a setting, *where* how errors name it."""

    where: str
    values: Mapping[str, object]
    call: Callable[[str], str] = str

    def check(self) -> None:
        for name, value in self.values.items():
            if name not in SETTINGS:
                raise self.unknown(name)
            if not SETTINGS[name].fits(value):
                raise self.unfit(name, value)

    def unknown(self, name: str) -> ConfigurationError:
        """The error for a name that is no setting: it names the nearest one, or all."""
        near = get_close_matches(name, SETTINGS, n=1) or get_close_matches(f"pulsar.{name}", SETTINGS, n=1, cutoff=0.8)
        known = ", ".join(map(self.call, SETTINGS))
        hint = f"Did you mean {self.call(near[0])}?" if near else f"There are {known}."
        return ConfigurationError(f"{self.call(name)} ({self.where}) is no setting", hint)

    def unfit(self, name: str, value: object) -> ConfigurationError:
        setting = SETTINGS[name]
        text = "***" if setting.secret else repr(shown(value) if isinstance(value, str) else value)
        return ConfigurationError(f"{self.call(name)} = {text} ({self.where}) is not {setting.expected}")


def load_config(
    url: str | None = None,
    *,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **keywords: object,
) -> Config:
    """The configuration as it holds in *directory* (the working directory) and *environ* (the process's).

    *url* is the transport, and the storage too where one URL names both. A keyword that is None is not given.
    Raises `ConfigurationError`.
    """
    place = Path.cwd() if directory is None else directory
    sources = [
        _keyword_source(url, keywords),
        _environment_source(os.environ if environ is None else environ),
        _file_source(place / "infinitic.toml"),
        _file_source(place / "pyproject.toml", "tool", "infinitic"),
    ]
    for source in sources:
        source.check()
    values: dict[str, Any] = {}
    for source in reversed(sources):
        values.update(source.values)
    transport, storage = _pair(sources)
    return Config(**_nested(values | {"transport": transport, "storage": storage}))


def _keyword_source(url: str | None, keywords: Mapping[str, object]) -> Source:
    given = {name: value for name, value in keywords.items() if value is not None}
    if url is not None and "transport" in given:
        raise ConfigurationError(
            f"Both the URL {shown(url)} and a transport were given as keywords",
            "Give one URL, or transport=… and storage=….",
        )
    if url is not None:
        given["transport"] = url
    retention = given.get("retention")
    if isinstance(retention, timedelta):
        given["retention"] = retention.total_seconds()
    return Source("keyword", _flat("keyword", given))


def _environment_source(environ: Mapping[str, str]) -> Source:
    """Settings by `INFINITIC_NAME`, those of tables by `INFINITIC_TABLE__NAME`; an empty one is not set."""
    names = {_setting_name(name): text for name, text in environ.items() if name.startswith(PREFIX) and text}
    source = Source("environment", {}, _environment_name)
    return Source("environment", {name: _parsed(source, name, text) for name, text in names.items()}, _environment_name)


def _setting_name(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower().replace("__", ".", 1)


def _environment_name(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")


def _parsed(source: Source, name: str, text: str) -> object:
    if name not in SETTINGS:
        raise source.unknown(name)
    try:
        return SETTINGS[name].parse(text)
    except ValueError:
        raise source.unfit(name, text) from None


def url_settings(url: str, table: str) -> dict[str, Any]:
    """What *url* says after "?" of the settings of *table*. Raises `ConfigurationError`."""
    source = Source(shown(url.partition("?")[0]), {}, lambda name: name.removeprefix(f"{table}."))
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    values = {name: _parsed(source, f"{table}.{name}", text) for name, text in given.items()}
    evolve(source, values={f"{table}.{name}": value for name, value in values.items()}).check()
    return values


def _file_source(path: Path, *tables: str) -> Source:
    where = f"{path.name}, [{'.'.join(tables)}]" if tables else path.name
    content: Any = _read_toml(path)
    for table in tables:
        content = content.get(table, {})
        if not isinstance(content, dict):
            raise ConfigurationError(f"{table} ({where}) is not a table")
    return Source(where, _flat(where, content))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise ConfigurationError(f"{path.name} cannot be read: {problem}") from None


def _flat(where: str, values: Mapping[str, object]) -> dict[str, object]:
    """`{"pulsar": {"auth": …}}` as `{"pulsar.auth": …}`."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if name not in TABLES:
            flat[name] = value
        elif isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": given for inner, given in value.items()})
        else:
            raise ConfigurationError(f"{name} = {value!r} ({where}) is not a table")
    return flat


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for name in (name for name in values if "." in name):
        table, _, inner = name.partition(".")
        nested.setdefault(table, {})[inner] = values[name]
    return nested


def _pair(sources: Iterable[Source]) -> tuple[str, str | None]:
    """Transport and storage. An embedded URL is both, unless its own source or a higher one says more."""
    transport, transport_rank = _first(sources, "transport")
    storage, storage_rank = _first(sources, "storage")
    if transport is None and storage is None:
        return DEFAULT_URL, DEFAULT_URL
    if transport is not None and scheme_of(transport) in EMBEDDED and transport_rank < storage_rank:
        return transport, transport
    if storage is not None and scheme_of(storage) in EMBEDDED and storage_rank < transport_rank:
        return storage, storage
    if transport is None:
        raise ConfigurationError(
            f"storage = {shown(str(storage))} has no transport beside it",
            "Give transport='pulsar://…', or INFINITIC_TRANSPORT.",
        )
    return transport, storage


def _first(sources: Iterable[Source], name: str) -> tuple[str | None, int]:
    """What the highest source that names it says, and its rank; lower ranks are higher sources."""
    rank = 0
    for rank, source in enumerate(sources, 1):
        if name in source.values:
            return str(source.values[name]), rank
    return None, rank + 1
