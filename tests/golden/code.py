"""The workflows whose golden histories lie beside this file. What is here is never changed; add below."""

from typing import Any

from attrs import frozen

from dsl import (
    Cancelled,
    Channel,
    DoNotRetry,
    Flow,
    Retry,
    TaskFailed,
    UnknownWorkflow,
    Workflow,
    add_tags,
    compensations,
    continue_as_new,
    current_task,
    current_workflow,
    dispatch,
    first,
    gather,
    inline,
    method,
    now,
    patched,
    query,
    race,
    random,
    remove_tags,
    settle,
    sleep,
    sleep_until,
    spawn,
    task,
    timeout,
    uuid4,
    workflow,
)
from dsl.timers import timedelta

words = Channel(str, name="words")
numbers = Channel(int, name="numbers")


class Refused(Exception):
    """No."""


@frozen
class Short(Exception):
    """Money is missing."""

    wanted: int
    there: int


@task(retry=Retry(max_attempts=3, initial=1, jitter=0, never_on=Refused))
def step(name: str) -> str:
    raise NotImplementedError


@task(timeout=5, retry=Retry(max_attempts=2, initial=1, jitter=0))
def slow(seconds: int) -> int:
    raise NotImplementedError


@task
def measure() -> int:
    raise NotImplementedError


# --- waiting and combining ---


@workflow
def combining() -> Flow[list[Any]]:
    seen: list[Any] = [(yield from gather(step("a"), step("b"), sleep(1)))]
    seen.append((yield from race(task=slow(1), timer=sleep(60), word=words.receive())))
    seen.append((yield from first(step("fails"), step("c"))))
    seen.append((yield from step("d") & sleep(2)))
    seen.append((yield from words.receive() | sleep(hours=1)))
    outcomes = yield from settle(step("fails"), step("e"), branch("f"))
    seen.append([one.ok for one in outcomes])
    try:
        yield from timeout(words.receive(), 30)
    except TimeoutError as error:
        seen.append(type(error).__name__)
    seen.append((yield from gather()))
    return seen


def branch(name: str) -> Flow[str]:
    one = yield from step(name)
    yield from sleep(1)
    return one


@workflow
async def awaiting(name: str) -> str:
    one = await step(name)
    two, _ = await gather(step("two"), sleep(3))
    return f"{one} {two}"


@workflow
def branching() -> Flow[list[Any]]:
    left, right = spawn(branch("left")), spawn(branch("right"))
    loose = dispatch(step("loose"))
    doomed = spawn(branch("doomed"))
    doomed.cancel()
    answers = yield from settle(left, right, doomed)
    return [*(one.value if one.ok else type(one.error).__name__ for one in answers), (yield from loose)]


@workflow
def ambient() -> Flow[list[Any]]:
    began = now()
    seen: list[Any] = [str(uuid4()), random.randint(1, 1_000), (yield from inline(int, "42"))]
    yield from sleep_until(began + timedelta(days=1))
    return [*seen, random.choice("abc"), (now() - began).days, current_workflow().name]


# --- others ---


@workflow
def family(depth: int) -> Flow[list[Any]]:
    if not depth:
        return [(yield from step("leaf"))]
    below = yield from family(depth - 1)
    try:
        yield from failing("refused")
    except Exception as error:
        below.append(type(error).__name__)
    try:
        yield from Account.by_id("nobody").deposit(1)
    except UnknownWorkflow:
        below.append("nobody")
    yield from words.by_id("listener").send(f"from depth {depth}")
    return below


@workflow
def listener(count: int) -> Flow[list[str]]:
    heard: list[str] = []
    for _ in range(count):
        heard.append((yield from words.receive()))
    return heard


class Account(Workflow):
    noted = Channel(str)

    def __init__(self) -> None:
        self.held = 0
        self.notes: list[str] = []

    @method
    def run(self, goal: int) -> Flow[int]:
        while self.held < goal:
            self.notes.append((yield from self.noted.receive()))
        return self.held

    @method
    def deposit(self, amount: int) -> int:
        self.held += amount
        return self.held

    @method
    def withdraw(self, amount: int) -> Flow[int]:
        if amount > self.held:
            raise Short(amount, self.held)
        yield from step("withdraw")
        self.held -= amount
        return self.held

    @query
    def balance(self) -> int:
        return self.held


@workflow
def saving(amount: int) -> Flow[list[Any]]:
    account = Account.by_id("acc")
    seen: list[Any] = [(yield from account.deposit(amount))]
    try:
        yield from account.withdraw(1_000_000)
    except Exception as error:
        seen.append(str(error.__cause__))
    yield from account.noted.send("saved")
    return seen


@workflow
def rounds(left: int, total: int = 0) -> Flow[int]:
    total += yield from numbers.receive()
    total += sum(numbers.drain()) if left == 1 else 0
    yield from sleep(10)
    if left:
        yield from continue_as_new(rounds(left - 1, total))
    return total


# --- errors ---


def chained() -> Flow[None]:
    try:
        yield from step("fails")
    except TaskFailed as error:
        raise LookupError("there is none") from error


def grouped() -> Flow[None]:
    yield from sleep(0)
    problem = ValueError("noted")
    problem.add_note("a note")
    raise ExceptionGroup("two", [problem, Short(1, 0)])


def giving_up() -> Flow[None]:
    yield from sleep(0)
    raise DoNotRetry("it is of no use")


def wrong() -> Flow[Any]:
    yield 42


WAYS: dict[str, Any] = {
    "refused": lambda: step("refused"),
    "chain": chained,
    "group": grouped,
    "timeout": lambda: slow(60),
    "unreadable": measure,
    "unsendable": lambda: step(object()),  # type: ignore[arg-type]  # what no codec can encode
    "wrong": wrong,
    "gives-up": giving_up,
    "too-late": words.receive,
}


@workflow
def failing(how: str) -> Flow[None]:
    yield from WAYS[how]()


@workflow
def catching() -> Flow[list[str]]:
    seen = []
    for how in ("refused", "chain", "timeout", "unreadable", "unsendable"):
        try:
            yield from failing.fn(how)
        except Exception as error:
            seen.append(f"{type(error).__name__} from {type(error.__cause__).__name__}")
    return seen


MENDED = [True]
"""False while a history is made that fails by a bug."""


@workflow
def mended() -> Flow[list[str]]:
    one = yield from step("one")
    dispatch(step("carried on"))
    if not MENDED[0]:
        dispatch(step("by mistake"))
        raise LookupError("a bug")
    two = yield from step("two")
    return [one, two, (yield from words.receive())]


@workflow
def repeated() -> Flow[str]:
    return (yield from step("down for long"))


@workflow
def parenting() -> Flow[str]:
    return (yield from repeated())


# --- cancellation and compensation ---


@workflow
def cleaning() -> Flow[str]:
    try:
        child = dispatch(listener(5))
        yield from gather(child, words.receive(), slow(1), sleep(days=1))
    except Cancelled:
        yield from step("clean up")
        yield from sleep(5)
        raise
    return "not cancelled"


@workflow
def stubborn() -> Flow[str]:
    try:
        yield from words.receive()
    except Cancelled:
        return (yield from step("in spite of all"))
    return "not cancelled"


@workflow
def saga() -> Flow[None]:
    with compensations() as undo:
        for name in ("one", "two", "three"):
            yield from step(name)
            undo(step(f"undo {name}"))
        yield from step("refused")


# --- code that changes ---


@workflow
def changing() -> Flow[list[str]]:
    seen = [(yield from step("as it was"))]
    if patched("more"):
        seen.append((yield from step("more")))
    seen.append((yield from words.receive()))
    if patched("at the end"):
        seen.append((yield from step("at the end")))
    return seen


@workflow(name="growing")
def growing_1() -> Flow[str]:
    return (yield from step("version 1"))


@workflow(name="growing", version=2)
def growing_2() -> Flow[str]:
    yield from sleep(1)
    return (yield from step("version 2"))


# --- tags, and what people do by hand ---


@workflow
def labelled() -> Flow[list[str]]:
    yield from add_tags("new", "open")
    seen = [(yield from step("first")), *sorted(current_workflow().tags)]
    seen.append((yield from words.receive()))
    yield from remove_tags("open")
    dispatch(Counter.by_tag("counters").add(1))
    yield from Counter.by_tag("counters").coins.send("by tag")
    return [*seen, *sorted(current_workflow().tags)]


@workflow
def guarded() -> Flow[list[Any]]:
    dispatch(listener(1).options(parent_close="terminate"))
    yield from sleep(days=400)
    failed = dispatch(step("refused"))
    seen: list[Any] = [(yield from words.receive()), (yield from settle(failed))[0].ok]
    yield from words.receive()
    return [*seen, (yield from settle(failed))[0].ok]


class Counter(Workflow):
    bell = Channel(str, buffered=False)
    coins = Channel[int | str]()

    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[list[Any]]:
        rung = dispatch(self.bell.receive(where=lambda said: said.index("now") >= 0))
        seen: list[Any] = [(yield from self.coins.receive(str))]
        seen.append((yield from self.coins.receive(int, where=lambda coin: coin > self.total)))
        outcome = (yield from settle(rung))[0]
        return [*seen, type(outcome.error).__name__, self.coins.drain(), (yield from self.bell.receive())]

    @method
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @add.validator
    def check_add(self, amount: int) -> None:
        if amount < 0:
            raise Short(amount, self.total)


# --- tasks that are watched over ---

HANDED_OUT: list[str] = []
"""The ids of tasks that somebody else completes, while a history is made."""


@task(delegated=True)
def approve(name: str) -> str | None:
    HANDED_OUT.append(current_task().id)
    return None


@task(heartbeat=2, retry=Retry(max_attempts=2, initial=1, jitter=0))
def copy(name: str) -> str:
    raise NotImplementedError


@workflow
def watching(how: str) -> Flow[list[str]]:
    limited = step(how).options(total_timeout=5, queue_timeout=60)
    outcomes = yield from settle(copy(how), limited, approve("one"), approve("two"))
    return [one.value if one.ok else str(one.error) for one in outcomes]
