"""The client of a Pulsar cluster: connecting, and who we say we are."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable

import pulsar

from infinitic.errors import TransportError
from infinitic.transports.pulsar_settings import PulsarSettings

COMPRESSIONS = {
    "none": pulsar.CompressionType.NONE,
    "lz4": pulsar.CompressionType.LZ4,
    "zlib": pulsar.CompressionType.ZLib,
    "zstd": pulsar.CompressionType.ZSTD,
    "snappy": pulsar.CompressionType.SNAPPY,
}

log = logging.getLogger("infinitic.pulsar")


def connect(settings: PulsarSettings) -> pulsar.Client:
    """A client; it connects at first use. Raises `TransportError`."""
    verbose = log.isEnabledFor(logging.DEBUG)
    logger = log if verbose else pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull)
    try:
        return pulsar.Client(
            settings.service_url,
            authentication=_authentication(settings),
            operation_timeout_seconds=max(1, round(settings.operation_timeout)),
            connection_timeout_ms=round(settings.connection_timeout * 1000),
            io_threads=settings.io_threads,
            concurrent_lookup_requests=settings.lookups,
            tls_trust_certs_file_path=settings.tls_trust or None,
            tls_allow_insecure_connection=settings.tls_insecure,
            tls_validate_hostname=settings.tls_hostname,
            tls_certificate_file_path=settings.tls_certificate or None,
            tls_private_key_file_path=settings.tls_key or None,
            listener_name=settings.listener or None,
            logger=logger,
        )
    except Exception as error:
        raise TransportError(f"{settings.place} cannot be used: {said(error)}") from None


def _authentication(settings: PulsarSettings) -> pulsar.Authentication | None:
    token: str | Callable[[], str] = settings.bearer if settings.token_file else settings.token
    if token:
        return pulsar.AuthenticationToken(token)
    if settings.user:
        return pulsar.AuthenticationBasic(settings.user, settings.password)
    if settings.oauth2_issuer:
        return pulsar.AuthenticationOauth2(json.dumps(settings.oauth2()))
    if settings.tls_certificate:
        return pulsar.AuthenticationTLS(settings.tls_certificate, settings.tls_key)
    return None


def said(error: BaseException) -> str:
    """What the client says went wrong, in its own word."""
    return str(error).removeprefix("Pulsar error: ") or type(error).__name__
