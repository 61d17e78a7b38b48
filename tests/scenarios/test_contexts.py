"""Contexts: what code sets for itself (decimal's precision, a context variable) is its own, on replay too."""

import contextvars
import decimal
from decimal import Decimal

from dsl import Flow, sleep, task, workflow

colour = contextvars.ContextVar("colour", default="none")


@task
def rough(amount: Decimal) -> str:
    decimal.getcontext().prec = 3
    before = colour.get()
    colour.set("red")
    return f"{amount / 7} {before}"


@task
def exact(amount: Decimal) -> str:
    return f"{amount / 7:.4f} {colour.get()}"


@workflow
def priced(amount: Decimal) -> Flow[list[str]]:
    found = []
    for _ in range(5):
        found.append((yield from rough(amount)))
        found.append(f"{amount / 7:.4f} {colour.get()}")
        found.append((yield from exact(amount)))
    return found


@workflow
def coarse(amount: Decimal) -> Flow[list[str]]:
    decimal.getcontext().prec = 4
    colour.set("blue")
    found = [f"{amount / 7} {colour.get()}"]
    for _ in range(3):
        yield from sleep(0.01)
        found.append(f"{amount / 7} {colour.get()}")
        found.append((yield from exact(amount / 7)))
    return found


def test_what_a_task_sets_reaches_no_other_code(serve, client):
    serve(priced, rough, exact, concurrency=1)

    assert client.run(priced(Decimal(1000)), timeout=20) == ["143 none", "142.8571 none", "142.8571 none"] * 5


def test_what_a_workflow_sets_it_finds_in_all_its_turns_and_when_it_is_loaded_again(serve, client):
    serve(coarse, exact, cache_instances=0)

    assert client.run(coarse(Decimal(1000)), timeout=20) == ["142.9 blue", *(["142.9 blue", "20.4143 none"] * 3)]
