"""Two tasks, one after the other: the second takes what the first answered."""

from infinitic import Flow, workflow
from samples.hello.contract import Greetings


@workflow
def hello(name: str) -> Flow[str]:
    greeting = yield from Greetings.greet(name)
    return (yield from Greetings.cheer(greeting, marks=3))
