"""What a URL says of a Redis: redis://user:password@host:6379/0, with options."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from infinitic.config import shown
from infinitic.errors import ConfigurationError
from infinitic.storages.options import PATH, POOL, SWITCH, Options, read_options

WAIT = 10
"""Seconds: for a free connection, for an answer."""


def _checks(text: str) -> str:
    return {"required": "required", "none": "none"}[text]


OPTIONS: Options = {
    "cluster": SWITCH,
    "pool": POOL,
    "ssl_ca_certs": PATH,
    "ssl_ca_path": PATH,
    "ssl_certfile": PATH,
    "ssl_keyfile": PATH,
    "ssl_cert_reqs": (_checks, "required or none"),
    "ssl_check_hostname": SWITCH,
}
FORM = "Write redis://user:password@host:6379/0, or rediss://… for TLS; @ : / ? # in a password as %40 %3A %2F %3F %23."
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
        except ValueError:  # which quotes what it did not understand, and that may be half a password
            raise ConfigurationError(f"{place} names no Redis", FORM) from None
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ConfigurationError(f"{place} names no Redis", FORM)
        options = read_options(place, parts.query, OPTIONS)
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
