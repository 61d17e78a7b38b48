"""Small workflows and tasks, which several tests run."""

from dsl import Channel, Flow, Workflow, current_task, method, sleep, task, workflow
from dsl.policies import Retry

numbers = Channel(int, name="numbers")


@task
def add(a: int, b: int) -> int:
    return a + b


@task(retry=Retry(initial=1, jitter=0))
def flaky() -> str:
    if current_task().attempt == 1:
        raise LookupError("not yet")
    return "at last"


@workflow
def counting(upto: int) -> Flow[int]:
    total = 0
    for number in range(upto):
        total = yield from add(total, number)
    return total


@workflow
def collecting(count: int) -> Flow[list[int]]:
    seen = []
    for _ in range(count):
        seen.append((yield from numbers.receive()))
    return seen


@workflow
def napping(seconds: int) -> Flow[str]:
    yield from sleep(seconds)
    return "awake"


@workflow
def trying() -> Flow[str]:
    return (yield from flaky())


@workflow
def parent(upto: int) -> Flow[int]:
    return (yield from counting(upto)) * 10


class Listening(Workflow):
    said = Channel(int)

    @method
    def run(self, count: int) -> Flow[list[int]]:
        heard = []
        for _ in range(count):
            heard.append((yield from self.said.receive()))
        return heard
