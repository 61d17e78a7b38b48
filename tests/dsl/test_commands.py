"""Commands: inert, waited for by `yield from` and `await`, joined by `&` and `|`."""

import pytest

from dsl import ProtocolError, gather, sleep, task
from dsl.commands import All, First, described


@task
def a(n: int = 1) -> int:
    return n


def flow():
    yield from sleep(1)


def test_yield_from_yields_the_command_and_gives_what_is_sent():
    def run():
        return (yield from a(5))

    running = run()

    assert next(running) == a(5)
    with pytest.raises(StopIteration) as done:
        running.send("answer")
    assert done.value.value == "answer"


def test_await_does_the_same():
    async def run():
        return await a(5)

    running = run()

    assert running.send(None) == a(5)
    with pytest.raises(StopIteration) as done:
        running.send("answer")
    assert done.value.value == "answer"


def test_a_command_can_be_waited_for_again():
    call = a(5)

    assert [next(iter(call)), next(iter(call))] == [call, call]


def test_a_command_is_neither_true_nor_false():
    with pytest.raises(ProtocolError) as caught:
        bool(a(5))

    assert str(caught.value) == (
        "a(n=5) was used as a truth value, but it has no answer yet: write `yield from` before it."
    )


def test_and_is_flat_to_the_left_and_nested_where_written():
    assert a(1) & a(2) & a(3) == All((a(1), a(2), a(3)))
    assert a(1) & (a(2) & a(3)) == All((a(1), All((a(2), a(3)))))
    assert gather(a(1), a(2)) & a(3) == All((gather(a(1), a(2)), a(3)))


def test_or_is_flat_to_the_left_and_nested_where_written():
    assert a(1) | a(2) | a(3) == First((a(1), a(2), a(3)), joined_by_or=True)
    assert a(1) | (a(2) | a(3)) == First((a(1), First((a(2), a(3)), joined_by_or=True)), joined_by_or=True)
    assert First((a(1), a(2))) | a(3) == First((First((a(1), a(2))), a(3)), joined_by_or=True)


def test_and_binds_closer_than_or():
    assert a(1) & a(2) | sleep(5) == First((All((a(1), a(2))), sleep(5)), joined_by_or=True)


def test_both_take_a_sub_flow():
    running = flow()

    assert (a(1) & running).items == (a(1), running)
    assert (a(1) | running).items == (a(1), running)


@pytest.mark.parametrize(("join", "sign"), [(lambda x: a(1) & x, "&"), (lambda x: a(1) | x, "|")])
@pytest.mark.parametrize("other", [5, None, [], a, flow])
def test_both_refuse_what_cannot_be_waited_for(join, sign, other):
    with pytest.raises(TypeError) as caught:
        join(other)

    start = f"{sign} takes commands, deferreds, generators and coroutines, not "
    assert str(caught.value).startswith(start)


def test_a_command_is_described_by_its_label_and_anything_else_by_its_repr():
    assert described(a(1)) == "a(n=1)"
    assert described(a(1) & a(2)) == "all(2 items)"
    assert described(5) == "5"
