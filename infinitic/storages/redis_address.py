"""What a URL says of a Redis: redis://user:password@host:6379/0, with options."""

from __future__ import annotations

import socket
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import field, frozen

from infinitic.config import shown
from infinitic.errors import ConfigurationError

WAIT = 10
"""Seconds: for a free connection, for an answer."""


def _switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _checks(text: str) -> str:
    return {"required": "required", "none": "none"}[text]


OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "cluster": (_switch, "true or false"),
    "pool": (_positive, "a number from 1 on"),
    "ssl_ca_certs": (str, "a path"),
    "ssl_ca_path": (str, "a path"),
    "ssl_certfile": (str, "a path"),
    "ssl_keyfile": (str, "a path"),
    "ssl_cert_reqs": (_checks, "required or none"),
    "ssl_check_hostname": (_switch, "true or false"),
}
FORM = "Write redis://user:password@host:6379/0, or rediss://… for TLS."
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
DRIVER = {
    "socket_connect_timeout": 5,
    "socket_timeout": WAIT,
    "socket_keepalive": True,
    "socket_keepalive_options": {getattr(socket, k): v for k, v in KEEPALIVE.items() if hasattr(socket, k)},
    "health_check_interval": 30,
    "protocol": 2,
    "client_name": "infinitic",
}


@frozen
class Address:
    """What a URL names."""

    place: str
    """For people: without its password and its options."""
    pool: int = 8
    cluster: bool = False
    tls: bool = False
    settings: dict[str, Any] = field(factory=dict, repr=False)
    """What the driver is given."""

    @classmethod
    def of(cls, url: str) -> Address:
        """What *url* names. Raises `ConfigurationError`."""
        place = shown(url).partition("?")[0]
        try:
            parts = urlsplit(url)
            port, db = parts.port or 6379, int(parts.path.removeprefix("/") or 0)
        except ValueError as error:
            raise ConfigurationError(f"{place} names no Redis ({error})", FORM) from None
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ConfigurationError(f"{place} names no Redis", FORM)
        options = _options(place, parts.query)
        own = {name: options.pop(name) for name in ["pool", "cluster"] if name in options}
        if own.get("cluster") and db:
            raise ConfigurationError(f"{place}: a cluster has database 0 only", "Leave the number out.")
        if options and parts.scheme == "redis":
            raise ConfigurationError(f"{place} has {', '.join(options)} and no TLS", "Write rediss://… for TLS.")
        names = {"username": parts.username, "password": parts.password}
        user = {name: unquote(value) for name, value in names.items() if value}
        return cls(
            place,
            settings={"host": parts.hostname, "port": port, "db": db, **user, **DRIVER, **options},
            tls=parts.scheme == "rediss",
            **own,
        )


def _options(place: str, query: str) -> dict[str, Any]:
    options = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            near = get_close_matches(name, OPTIONS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(OPTIONS)}."
            raise ConfigurationError(f"{place} has no option {name!r}", hint)
        read, wanted = OPTIONS[name]
        try:
            options[name] = read(text)
        except (ValueError, KeyError):
            raise ConfigurationError(f"{place}: {name}={text} is not {wanted}", "Mend the URL.") from None
    return options
