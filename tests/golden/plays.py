"""What happened when the golden histories were written, each on a stage of its own: for those who add one."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dsl import InfiniticError, current_task
from infinitic.testing import Stage
from tests.golden import code, samples
from tests.golden.code import Account, Counter, numbers, step, words

PLAYS: dict[str, Callable[[Stage], None]] = {}


def play(act: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """A history is named after its function: `python -m tests.golden` writes those that are not there yet."""
    PLAYS[act.__name__] = act
    return act


def answer(name: str) -> str:
    """What the task `step` does."""
    if name == "refused":
        raise code.Refused("no, not this")
    if name == "fails":
        try:
            raise OSError("the disk is full")
        except OSError as error:
            raise ConnectionError("it is down") from error
    return name


def begin(stage: Stage, call: Any, id: str, **options: Any) -> Any:
    handle = stage.client.start(call, id=id, **options)
    stage.settle()
    return handle


def over(handle: Any) -> None:
    """Wait for the end, whatever that is."""
    with suppress(InfiniticError):
        handle.result()


# --- the samples ---


@play
def hello(stage: Stage) -> None:
    over(begin(stage, samples.hello("Ada"), "hello"))


@play
def booking(stage: Stage) -> None:
    for service in (samples.Cars, samples.Flights):
        stage.script(service.book, lambda reference, city: samples.Reservation(reference, city, 100))
    stage.script(samples.Hotels.book, _room)
    paid, cancelled, refused = (begin(stage, samples.booking(one), one) for one in ("Oslo", "Rome", "Atlantis"))
    stage.client.run(samples.paid.by_id("Oslo").send("card 4242"))
    cancelled.cancel()
    for one in (paid, cancelled, refused, begin(stage, samples.booking("Bern"), "nobody-pays")):
        over(one)


def _room(reference: str, city: str, nights: int) -> samples.Reservation:
    if city == "Atlantis":
        raise samples.FullyBooked(f"no room in {city}")
    return samples.Reservation(reference, city, nights)


@play
def invoicing(stage: Stage) -> None:
    stage.script(samples.Payments.collect, "paid", samples.Declined("no money"))
    handle = begin(stage, samples.invoicing("acme", 5), "acme")
    for month in range(14):
        stage.client.run(samples.usage.by_id("acme").send(month))
        stage.advance(days=30)
    stage.advance(days=4)
    stage.client.run(samples.settled.by_id("acme").send(3))
    stage.client.run(samples.settled.by_id("acme").send(2))
    stage.advance(days=40)
    handle.cancel()
    over(handle)


@play
def loyalty(stage: Stage) -> None:
    stage.script(samples.Vouchers.issue, "a voucher", samples.OutOfStock("none left"))
    ada, bob = samples.Loyalty.by_id("ada"), samples.Loyalty.by_id("bob")
    handles = [begin(stage, samples.Loyalty.run(one), one.lower()) for one in ("Ada", "Bob")]
    stage.client.run(ada.bonus.send(250))
    for call in (ada.redeem(50), ada.redeem(50), ada.redeem(5_000), ada.give("bob", 30), ada.give("nobody", 30)):
        with suppress(InfiniticError):
            stage.client.run(call)
    stage.advance(days=30)
    for one in (ada, bob):
        stage.client.run(one.close())
    for handle in handles:
        over(handle)


# --- what a workflow can do ---


@play
def combinators(stage: Stage) -> None:
    handle = begin(stage, code.combining(), "combining")
    stage.advance(2)
    stage.client.run(words.by_id("combining").send("early"))
    over(handle)
    for call in (code.awaiting("one"), code.branching(), code.ambient()):
        over(begin(stage, call, call.definition.name, tags=["golden"], meta={"made": "by hand"}))


@play
def children(stage: Stage) -> None:
    listening = begin(stage, code.listener(2), "listener")
    over(begin(stage, code.family(2), "family"))
    over(listening)


@play
def methods(stage: Stage) -> None:
    handle = begin(stage, Account.run(100), "acc")
    over(begin(stage, code.saving(60), "saving"))
    account = Account.by_id("acc")
    for call in (account.withdraw(100), account.withdraw(10), account.deposit(60)):
        with suppress(InfiniticError):
            stage.client.run(call)
    stage.client.run(account.noted.send("done"))
    over(handle)
    begin(stage, Account.run(5), "left-open")


@play
def continued(stage: Stage) -> None:
    handle = begin(stage, code.rounds(2).options(timeout=3600), "rounds")
    for number in range(5):
        stage.client.run(numbers.by_id("rounds").send(number))
    over(handle)


@play
def errors(stage: Stage) -> None:
    stage.script(code.measure, lambda: "no number")  # type: ignore[arg-type]  # as a task that is not typed may
    stage.takes(code.slow, 60)
    for how in code.WAYS:
        over(begin(stage, code.failing(how).options(timeout=600), f"failing-{how}"))
    over(begin(stage, code.catching(), "catching"))


@play
def retried(stage: Stage) -> None:
    code.MENDED[0] = False
    try:
        handle = begin(stage, code.mended(), "mended")
        over(handle)
        stage.client.run(words.by_id("mended").send("while it had failed"))
    finally:
        code.MENDED[0] = True
    handle.retry()
    over(handle)
    stage.script(step, *[ConnectionError("down")] * 3, lambda name: name)
    again = begin(stage, code.parenting(), "parenting")
    over(again)
    again.retry()
    over(again)


@play
def cancelled(stage: Stage) -> None:
    for call in (code.cleaning(), code.stubborn()):
        handle = begin(stage, call, call.definition.name)
        handle.cancel()
        over(handle)
    over(begin(stage, code.saga(), "saga"))
    begin(stage, code.listener(1), "left-open")


@play
def changed(stage: Stage) -> None:
    handle = begin(stage, code.changing(), "changing")
    stage.client.run(words.by_id("changing").send("a word"))
    over(handle)
    over(begin(stage, code.growing_2(), "growing"))


@play
def by_hand(stage: Stage) -> None:
    handle = begin(stage, code.guarded(), "guarded")
    handle.complete_timers()
    handle.suspend("to be looked at")
    stage.client.start(words.by_id("guarded").send("while it stood still"))
    stage.settle()
    handle.resume()
    stage.script(step, lambda name: name)
    handle.retry(task=step)
    stage.client.run(words.by_id("guarded").send("after the retry"))
    over(handle)
    doomed = begin(stage, code.guarded(), "doomed")
    doomed.terminate("nobody wants it")
    over(doomed)


@play
def tagged(stage: Stage) -> None:
    begin(stage, Counter.run(), "counting", tags=["counters"])
    handle = begin(stage, code.labelled(), "labelled", tags=["golden"])
    stage.client.tag("labelled", add=["vip"], remove=["new"])
    stage.client.run(words.by_id("labelled").send("go on"))
    over(handle)


@play
def received(stage: Stage) -> None:
    counter = Counter.by_id("counter")
    handle = begin(stage, Counter.run(), "counter")
    for call in (counter.add(-1), counter.add(2), counter.bell.send("later")):
        with suppress(InfiniticError, code.Short):
            stage.client.run(call)
    for coin in (1, 2, "heads", 3, 4, "tails"):
        stage.client.run(counter.coins.send(coin))
    stage.client.run(counter.bell.send("at last"))
    over(handle)


@play
def watched(stage: Stage) -> None:
    stage.script(code.copy, _beating)
    stage.takes(code.copy, 1)
    well = begin(stage, code.watching("well"), "well")
    stage.advance(3)
    for number, task_id in enumerate(code.HANDED_OUT):
        with suppress(InfiniticError):
            stage.client.complete(task_id, "yes") if number else stage.client.fail(task_id, code.Refused("no"))
    over(well)
    stage.takes(code.copy, 60)
    stage.takes(step, 60)
    begin(stage, code.watching("silent"), "silent")
    stage.advance(hours=1)
    code.HANDED_OUT.clear()


def _beating(name: str) -> str:
    """What the task `copy` does: it says how far it is and fails at first, or says nothing."""
    if name == "well":
        current_task().heartbeat({"copied": 1})
        if current_task().attempt == 1:
            raise ConnectionError("down")
    return name
