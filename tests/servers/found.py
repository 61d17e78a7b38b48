"""Which real servers there are for the tests: `make servers` and `make test` name them in the environment."""

import os

import pytest

VARIABLES = {
    "pulsar": "TEST_PULSAR_URL",
    "redis": "TEST_REDIS_URL",
    "mysql": "TEST_MYSQL_URL",
    "mariadb": "TEST_MARIADB_URL",
    "postgres": "TEST_POSTGRES_URL",
}
"""Server → the variable that holds its URL; Pulsar's names its admin URL too."""


def server(name: str) -> str:
    """The URL of a server. Without it the test is skipped, with the reason; in CI it fails."""
    url = os.environ.get(VARIABLES[name], "")
    if url:
        return url
    reason = f"no {name}: {VARIABLES[name]} is not set (make test sets it, where it can start the server)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
