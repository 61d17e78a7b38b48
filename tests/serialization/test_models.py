"""Pydantic models travel by field name, and come back as models."""

import math
from datetime import date
from decimal import Decimal
from typing import Generic, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

from infinitic.errors import EncodeError
from infinitic.serialization.plain import DECODE_ERRORS, as_decode_error, decoder, encode

T = TypeVar("T")


class Part(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str = Field(alias="Name", default="")
    price: Decimal = Decimal("0.10")


class Order(BaseModel):
    model_config = ConfigDict(strict=True)

    day: date
    parts: list[Part] = []
    tags: set[str] = set()
    kept: dict[str, frozenset[int]] = {}
    weight: float | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]


def test_a_model_round_trips_by_field_name():
    order = Order(day=date(2024, 1, 2), parts=[Part(Name="x")], tags={"b", "a"}, kept={"k": frozenset({2, 1})})

    assert encode([order]) == (
        b'[{"day":"2024-01-02","kept":{"k":[1,2]},"parts":[{"name":"x","price":"0.10"}],"tags":["a","b"],"weight":null}]'
    )
    assert decoder(list[Order])(encode([order])) == [order]


def test_a_generic_model_and_an_alias_are_understood():
    assert decoder(Page[Part])(b'{"items":[{"Name":"x"}]}') == Page[Part](items=[Part(Name="x")])
    assert decoder(Order | None)(b"null") is None


def test_what_pydantic_refuses_names_its_place():
    with pytest.raises(DECODE_ERRORS) as caught:
        decoder(list[Order])(b'[{"day":"2024-01-02","parts":[{"price":"x"}]}]')

    error = as_decode_error(caught.value)
    assert (error.message, error.path) == ("Input should be a valid decimal", "$[0].parts[0].price")


def test_not_a_number_in_a_model_is_refused():
    with pytest.raises(EncodeError) as caught:
        encode(Order(day=date(2024, 1, 2), weight=math.nan))

    assert caught.value.path == "$.weight"
