"""A namespace of its own on a real broker, for one test."""

import uuid


def fresh(url: str, **options: object) -> str:
    """The broker's URL with a namespace that nobody used before; *options* are added to it."""
    place, _, query = url.partition("?")
    given = "&".join([query, "partitions=1", *(f"{name}={value}" for name, value in options.items())])
    return f"{place.rstrip('/')}/public/test-{uuid.uuid4().hex[:12]}?{given}"
