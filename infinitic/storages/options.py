"""What a URL says of a server behind its question mark, for the storages whose drivers take options one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from infinitic.errors import ConfigurationError

Options: TypeAlias = Mapping[str, tuple[Callable[[str], Any], str]]
"""By name: what reads the text, with `ValueError` or `KeyError` where it cannot, and what is wanted, for people."""


def switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


POOL = (positive, "a number from 1 on")
SWITCH = (switch, "true or false")
PATH = (str, "a path")


def read_options(place: str, query: str, known: Options) -> dict[str, Any]:
    """What *query* sets, of the *known* options. Raises `ConfigurationError` that names the *place*."""
    options = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
            raise ConfigurationError(f"{place} has no option {name!r}", hint)
        read, wanted = known[name]
        try:
            options[name] = read(text)
        except (ValueError, KeyError):
            raise ConfigurationError(f"{place}: {name}={text} is not {wanted}", "Mend the URL.") from None
    return options
