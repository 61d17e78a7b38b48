"""The admin REST API of Pulsar, as far as topics need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from urllib.request import urlopen

import urllib3

from infinitic.errors import TransportError
from infinitic.transports.pulsar_settings import PulsarSettings

SECONDS = 15.0
DENIED = frozenset({401, 403, 405})
AGAIN: Mapping[str, Any] = {
    "status": 6,
    "status_forcelist": {412, 500, 503},
    "backoff_factor": 0.05,
    "raise_on_status": False,
}
"""What is answered when several make the same thing at once: asked again, by then it is there."""
EARLIEST = {"ledgerId": -1, "entryId": -1}


class NoAdmin(TransportError):
    """The admin API cannot be reached, or does not let us."""


class Admin:
    """Calls of the admin API. Thread-safe. Raises `NoAdmin` where it is out of reach or refuses us."""

    def __init__(self, settings: PulsarSettings) -> None:
        self._settings = settings
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=min(settings.connection_timeout, SECONDS), read=SECONDS),
            "retries": urllib3.Retry(connect=0, read=0, redirect=3, remove_headers_on_redirect=[], **AGAIN),
            "maxsize": 4,
            "block": True,  # who comes when all are in use waits
        }
        if settings.admin_url.startswith("https:"):
            options |= _tls(settings)
        if settings.admin_proxy:
            proxy = urllib3.util.parse_url(settings.admin_proxy)
            options |= {"proxy_headers": urllib3.make_headers(proxy_basic_auth=proxy.auth and unquote(proxy.auth))}
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(proxy._replace(auth=None).url, **options)
        else:
            self._pool = urllib3.PoolManager(**options)
        self._token = ""

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status, and what was answered: decoded JSON, or a text."""
        answer = self._ask(method, path, body)
        if answer.status == 401 and self._token:  # it has expired
            self._token = ""
            answer = self._ask(method, path, body)
        if answer.status in DENIED:
            raise NoAdmin(f"The admin API {self._settings.admin_url} refuses {method} {path} ({answer.status})")
        try:
            return answer.status, json.loads(answer.data)
        except ValueError:
            return answer.status, answer.data.decode("utf-8", "replace")

    def _ask(self, method: str, path: str, body: Any) -> urllib3.BaseHTTPResponse:
        headers = {"Content-Type": "application/json", **self._who()}
        url = f"{self._settings.admin_url.rstrip('/')}/admin/v2{path}"
        data = None if body is None else json.dumps(body)
        try:
            return self._pool.request(method, url, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            problem = getattr(error, "reason", None) or error
            raise NoAdmin(f"The admin API {self._settings.admin_url} does not answer: {problem}") from None

    def _who(self) -> dict[str, str]:
        settings = self._settings
        if settings.user:
            return urllib3.make_headers(basic_auth=f"{settings.user}:{settings.password}")
        token = self._granted() if settings.oauth2_issuer else settings.bearer()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _granted(self) -> str:
        """A token by OAuth2's client credentials, kept until it is refused (RFC 6749, 4.4)."""
        if not self._token:
            asked = {"grant_type": "client_credentials"}
            asked |= {k: v for k, v in self._settings.oauth2().items() if k in ("audience", "scope")}
            issuer = self._settings.oauth2_issuer.rstrip("/")
            try:
                key = json.loads(_content(self._settings.oauth2_key_file))
                asked |= {name: key[name] for name in ("client_id", "client_secret")}
                known = self._pool.request("GET", f"{issuer}/.well-known/openid-configuration").json()
                answer = self._pool.request("POST", known["token_endpoint"], fields=asked, encode_multipart=False)
                self._token = str(answer.json()["access_token"])
            except (urllib3.exceptions.HTTPError, OSError, ValueError, KeyError) as error:
                told = f"it lacks {error}" if isinstance(error, KeyError) else error
                raise NoAdmin(f"{issuer} granted no token for the admin API: {told}") from None
        return self._token

    # --- topics ---

    def make_topic(self, topic: str, partitions: int) -> None:
        """Make a partitioned topic, its tenant and namespace too; one that is there is left alone."""
        self._make(f"/persistent/{self._path(topic)}/partitions", partitions, topic)

    def make_passing_topic(self, topic: str) -> None:
        """Make a topic that keeps nothing, as `make_topic` does."""
        self._make(f"/non-persistent/{self._path(topic)}", None, topic)

    def _make(self, path: str, body: Any, topic: str) -> None:
        status, told = self.request("PUT", path, body)
        if status == 404:
            self._make_namespace()
            status, told = self.request("PUT", path, body)
        self._expect(status, told, f"the topic {topic}")

    def make_subscription(self, topic: str) -> None:
        """Make the subscription that keeps what is sent; one that is there is left alone."""
        path = f"/persistent/{self._path(topic)}/subscription/{quote(self._settings.subscription, safe='')}"
        self._expect(*self.request("PUT", path, EARLIEST), f"the subscription of {topic}")

    def _make_namespace(self) -> None:
        tenant, namespace = self._settings.tenant, self._settings.namespace
        status, told = self.request("PUT", f"/namespaces/{tenant}/{namespace}")
        if status == 404:
            _, clusters = self.request("GET", "/clusters")
            wanted = {"adminRoles": [], "allowedClusters": clusters}
            self._expect(*self.request("PUT", f"/tenants/{tenant}", wanted), f"the tenant {tenant}")
            status, told = self.request("PUT", f"/namespaces/{tenant}/{namespace}")
        self._expect(status, told, f"the namespace {tenant}/{namespace}")

    def _expect(self, status: int, told: Any, what: str) -> None:
        """Made now (204), or there already (409)."""
        if status not in (200, 204, 409):
            reason = told.get("reason", told) if isinstance(told, dict) else told
            raise NoAdmin(f"The admin API {self._settings.admin_url} did not make {what}: {reason} ({status})")

    def stats(self, topic: str) -> dict[str, Any] | None:
        """The statistics of a partitioned topic, by partition; None when there is no such topic."""
        status, told = self.request("GET", f"/persistent/{self._path(topic)}/partitioned-stats?perPartition=true")
        return told if status == 200 else None

    def _path(self, topic: str) -> str:
        return f"{self._settings.tenant}/{self._settings.namespace}/{quote(topic, safe='')}"


def _content(file: str) -> str:
    """What stands in a file that is given by path or as file://, or in a URL data:… itself."""
    if file.startswith("data:"):
        with urlopen(file) as content:
            return str(content.read(), "utf-8")
    return Path(file.removeprefix("file://")).read_text(encoding="utf-8")


def _tls(settings: PulsarSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"cert_reqs": "CERT_NONE" if settings.tls_insecure else "CERT_REQUIRED"}
    if settings.tls_trust:
        options["ca_certs"] = settings.tls_trust
    if settings.tls_certificate:
        options |= {"cert_file": settings.tls_certificate, "key_file": settings.tls_key}
    if not settings.tls_hostname:
        options["assert_hostname"] = False
    return options
