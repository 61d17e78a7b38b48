"""Pydantic models, recognised by their shape: pydantic itself is never imported from here."""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode


def is_model(kind: Any) -> bool:
    """Whether *kind* is a pydantic model class."""
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "model_fields")


def dumped(model: Any) -> Any:
    """A model as JSON data, by field name, with its sets sorted."""
    return _sorted(model, model.model_dump(mode="json"))


def validated(kind: Any, data: Any) -> Any:
    """JSON data as a model of *kind*, by field name or alias. Raises `ValueError`."""
    try:
        # as JSON, because that is the mode in which a strict model takes a date as a text
        return kind.model_validate_json(msgspec.json.encode(data), by_name=True, by_alias=True)
    except ValueError as error:
        raise ValueError(_finding(error)) from None


def _finding(error: Any) -> str:
    findings = error.errors() if hasattr(error, "errors") else []
    if not findings:
        return str(error)
    where = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in findings[0]["loc"])
    return f"{findings[0]['msg']} - at `${where}`" if where else str(findings[0]["msg"])


def _sorted(value: Any, data: Any) -> Any:
    """*data* with those lists sorted that pydantic wrote in the order in which a set happened to be."""
    if is_model(type(value)) and isinstance(data, dict):
        return {name: _sorted(getattr(value, name, None), one) for name, one in data.items()}
    if isinstance(value, set | frozenset) and isinstance(data, list):
        return sorted(data, key=_encode)
    if isinstance(value, list | tuple) and isinstance(data, list) and len(value) == len(data):
        return [_sorted(one, plain) for one, plain in zip(value, data, strict=True)]
    if isinstance(value, dict) and isinstance(data, dict) and len(value) == len(data):
        pairs = zip(value.values(), data.items(), strict=True)
        return {name: _sorted(one, plain) for one, (name, plain) in pairs}
    return data
