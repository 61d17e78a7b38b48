"""How to reach a Pulsar cluster: what the URL and the configuration say, checked. No driver is needed for that."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from infinitic.config import LARGEST, shown, url_settings
from infinitic.errors import ConfigurationError, TransportError


@frozen
class PulsarSettings:
    """All that can be set, checked. Times are in seconds, sizes in bytes."""

    service_url: str
    tenant: str
    namespace: str
    admin_url: str
    admin_proxy: str = field(default="", repr=shown)
    partitions: int = 4
    subscription: str = "infinitic"
    token: str = field(default="", repr=False)
    token_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    oauth2_issuer: str = ""
    oauth2_key_file: str = field(default="", repr=False)  # may be the credentials themselves, as data:
    oauth2_audience: str = ""
    oauth2_scope: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_trust: str = ""
    tls_insecure: bool = False
    tls_hostname: bool = True
    listener: str = ""
    operation_timeout: float = 30.0
    connection_timeout: float = 10.0
    send_timeout: float = 30.0
    io_threads: int = 1
    lookups: int = 50_000
    workflow_queue: int = 100
    service_queue: int = 4
    pending: int = 50_000
    largest_message: int = LARGEST
    compression: str = "none"
    batching: bool = False
    batching_delay: float = 0.001
    batching_messages: int = 1_000
    producer_name: str = ""
    consumer_name: str = ""

    @property
    def place(self) -> str:
        """The cluster and the namespace, for people."""
        return f"{self.service_url}/{self.tenant}/{self.namespace}"

    def bearer(self) -> str:
        """The token, "" where there is none. Raises `TransportError` when its file cannot be read."""
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise TransportError(f"pulsar.token_file {self.token_file} cannot be read: {error.strerror}") from None

    def oauth2(self) -> dict[str, str]:
        """The parameters of OAuth2 as Pulsar names them; empty where it is not used."""
        given = {
            "issuer_url": self.oauth2_issuer,
            "private_key": self.oauth2_key_file,
            "audience": self.oauth2_audience,
            "scope": self.oauth2_scope,
        }
        return {name: value for name, value in given.items() if value} if self.oauth2_issuer else {}


def read_settings(url: str, table: Mapping[str, Any], namespace: str) -> PulsarSettings:
    """What *url*, with its options after "?", and the table `[pulsar]` say; the URL goes first.

    Without a path the tenant is "public" and the namespace the configured one. Raises `ConfigurationError`.
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    tenant, _, name = path.partition("/") if path else ("public", "/", namespace)
    if not parts.hostname or not name or "/" in name:
        raise ConfigurationError(
            f"{shown(url)} names no Pulsar namespace", "Write pulsar://host:6650/tenant/namespace."
        )
    if "@" in parts.netloc:
        hint = "Give pulsar.token, or pulsar.user and pulsar.password."
        raise ConfigurationError(f"The URL of {parts.hostname} says who this is, which Pulsar's do not", hint)
    given = {**table, **url_settings(url, "pulsar")}
    given.setdefault("admin_url", _admin_url(parts.scheme, parts.netloc))
    settings = PulsarSettings(f"{parts.scheme}://{parts.netloc}", tenant, name, **given)
    _check(settings)
    return settings


def _admin_url(scheme: str, hosts: str) -> str:
    host = re.sub(r":\d*$", "", hosts.partition(",")[0])
    return f"https://{host}:8443" if scheme == "pulsar+ssl" else f"http://{host}:8080"


def _check(settings: PulsarSettings) -> None:
    ways = {
        "token": settings.token or settings.token_file,
        "user": settings.user,
        "oauth2_issuer": settings.oauth2_issuer,
    }
    used = [f"pulsar.{name}" for name, value in ways.items() if value]
    if len(used) > 1:
        raise ConfigurationError(f"{' and '.join(used)} are two ways to say who this is", "Keep one of them.")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise ConfigurationError("pulsar.tls_certificate and pulsar.tls_key go together", "Give both files.")
    if settings.oauth2_issuer and not settings.oauth2_key_file:
        raise ConfigurationError("pulsar.oauth2_issuer needs pulsar.oauth2_key_file", "Give the file of credentials.")
    for name in ("token_file", "tls_certificate", "tls_key", "tls_trust", "oauth2_key_file"):
        path = getattr(settings, name)
        if path and not path.startswith("data:") and not os.path.isfile(path.removeprefix("file://")):
            raise ConfigurationError(f"pulsar.{name} = {path!r} is no file that is there")
    if "@" in settings.admin_url:
        raise ConfigurationError("pulsar.admin_url says who this is", "Give pulsar.token, or user and password.")


def check_reachable(settings: PulsarSettings) -> None:
    """See that one of the hosts answers: the client itself would try for half a minute. Raises `TransportError`."""
    problem: object = "no host"
    default = 6651 if settings.service_url.startswith("pulsar+ssl:") else 6650
    for hosts in settings.service_url.partition("://")[2].split(","):
        address = urlsplit(f"//{hosts}")
        try:
            with socket.create_connection((address.hostname, address.port or default), settings.connection_timeout):
                return
        except OSError as error:
            problem = error.strerror or error
    raise TransportError(
        f"{settings.service_url} does not answer: {problem}", "Is the broker there, and the address right?"
    )
