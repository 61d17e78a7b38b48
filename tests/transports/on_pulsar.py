"""A namespace of its own on a real broker, for one test; and what can be done to it from outside."""

import json
import os
import socket
import uuid
from contextlib import suppress
from urllib.parse import urlsplit

import urllib3

from infinitic.transports.pulsar_settings import read_settings


def fresh(url: str, **options: object) -> str:
    """The broker's URL with a namespace that nobody used before; *options* are added to it."""
    place, _, query = url.partition("?")
    given = "&".join([query, "partitions=1", *(f"{name}={value}" for name, value in options.items())])
    return f"{place.rstrip('/')}/public/test-{uuid.uuid4().hex[:12]}?{given}"


def admin(url: str, method: str, path: str, body: object = None) -> None:
    """One call of the admin API that must succeed; "{namespace}" in *path* is that of *url*."""
    settings = read_settings(url, {}, "default")
    place = f"{settings.tenant}/{settings.namespace}"
    full = f"{settings.admin_url}/admin/v2{path.format(namespace=place)}"
    headers = {"Content-Type": "application/json"}
    answer = urllib3.request(method, full, body=json.dumps(body) if body is not None else None, headers=headers)
    assert answer.status in (200, 204), answer.data


def unload(url: str) -> None:
    """Have the broker let go of all topics of the namespace: whoever uses them connects anew."""
    admin(url, "PUT", "/namespaces/{namespace}/unload")


def break_connections(url: str) -> None:
    """Break every connection of this process to the broker, as a network does."""
    port = urlsplit(url).port
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as copy:  # an error: no socket, or alone
            if copy.getpeername()[1] == port:
                copy.shutdown(socket.SHUT_RDWR)
