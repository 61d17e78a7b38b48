"""The greeting: on a stage, and with a real worker on both backends that need no server."""

from typing import Any

from infinitic import Client, Worker
from infinitic.testing import Stage, TaskCompleted, rehearse
from samples.hello.contract import Greetings
from samples.hello.services import PlainGreetings
from samples.hello.workflow import hello


def test_the_greeting_is_cheered(place: dict[str, Any]) -> None:
    with Worker(**place, workflows=[hello], services=[PlainGreetings]), Client(**place) as client:
        assert client.run(hello("Ada"), timeout=10) == "Hello, Ada!!!"


def test_another_team_may_greet_in_its_own_way() -> None:
    class Salutations(Greetings):
        def greet(self, name: str) -> str:
            return f"Salve, {name}"

        def cheer(self, text: str, marks: int = 1) -> str:
            return text.upper()

    with Stage(workflows=[hello], services=[Salutations]) as stage:
        assert stage.client.run(hello("Ada")) == "SALVE, ADA"


def test_the_greeting_is_what_is_cheered() -> None:
    [greeting] = rehearse(hello("Ada")).commands
    [cheer] = rehearse(hello("Ada"), [TaskCompleted(greeting.position, "Salut")]).waiting

    assert greeting == Greetings.greet("Ada")
    assert cheer == Greetings.cheer("Salut", marks=3)


def test_tasks_can_be_tried_without_any_worker() -> None:
    assert PlainGreetings().cheer("Hello", marks=2) == "Hello!!"
