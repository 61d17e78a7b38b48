"""Years of a membership in milliseconds; and a short one with a real worker, over a SQLite file."""

from collections.abc import Iterator
from typing import Any

import pytest

from infinitic import Client, Worker, WorkflowFailed, sleep
from infinitic.testing import SignalSent, Stage, TimerFired, rehearse
from samples.loyalty.contract import Account, Mail, NotEnoughPoints, OutOfStock, Vouchers
from samples.loyalty.services import CornerShop, LetterBox
from samples.loyalty.workflow import Loyalty

ada = Loyalty.by_id("ada")


@pytest.fixture
def mail() -> LetterBox:
    return LetterBox()


@pytest.fixture
def stage(mail: LetterBox) -> Iterator[Stage]:
    """Ada is a member, from now on."""
    with Stage(workflows=[Loyalty], services=[mail, CornerShop()]) as stage:
        stage.client.start(Loyalty.run("Ada"), id="ada")
        yield stage


def test_a_week_gives_ten_points(stage: Stage) -> None:
    stage.advance(days=52 * 7)

    assert stage.client.run(ada.account()) == Account(520, "silver")


def test_a_bonus_does_not_put_off_the_week(stage: Stage) -> None:
    stage.advance(days=6)
    stage.client.run(ada.bonus.send(5))
    stage.advance(days=1)

    assert stage.client.run(ada.account()) == Account(15, "bronze")


def test_each_new_tier_is_told_once(stage: Stage, mail: LetterBox) -> None:
    for points in (150, 50, 700, 100, 500):
        stage.client.run(ada.bonus.send(points))
    stage.settle()

    assert mail.letters == ["to Ada: you are silver now", "to Ada: you are gold now"]


def test_points_buy_a_voucher(stage: Stage) -> None:
    stage.client.run(ada.bonus.send(100))

    assert stage.client.run(ada.redeem(60)) == "voucher 1 for 60 points"
    assert stage.client.run(ada.account()) == Account(40, "bronze")


def test_nobody_spends_more_than_there_is(stage: Stage) -> None:
    stage.client.run(ada.bonus.send(100))

    with pytest.raises(WorkflowFailed) as refused:
        stage.client.run(ada.redeem(120))

    assert repr(refused.value.error) == repr(NotEnoughPoints(wanted=120, held=100))
    assert stage.client.run(ada.account()) == Account(100, "bronze")


@pytest.mark.parametrize("points", [0, -100])
def test_nobody_earns_by_spending_less_than_nothing(stage: Stage, points: int) -> None:
    stage.client.start(Loyalty.run("Grace"), id="grace")

    for call in (ada.redeem(points), ada.give(to="grace", points=points)):
        with pytest.raises(WorkflowFailed, match=f"{points} points are wanted, and 0 are there"):
            stage.client.run(call)
    assert stage.client.run(ada.account()) == Account(0, "bronze")


def test_two_who_redeem_at_once_cannot_spend_the_same_points(stage: Stage) -> None:
    stage.takes(Vouchers.issue, hours=1)
    stage.client.run(ada.bonus.send(100))
    first, second = (stage.client.start(ada.redeem(60)) for _ in range(2))

    with pytest.raises(WorkflowFailed, match="60 points are wanted, and 40 are there"):
        second.result()
    assert first.result() == "voucher 1 for 60 points"


def test_a_shop_that_is_down_for_a_while_is_asked_again(stage: Stage) -> None:
    down = ConnectionError("the shop is down")
    stage.script(Vouchers.issue, down, down, "voucher 7")
    stage.client.run(ada.bonus.send(100))

    assert stage.client.run(ada.redeem(60)) == "voucher 7"
    first, second, third = stage.attempts(Vouchers.issue)
    assert first == second == third  # under one reference


def test_without_a_voucher_the_points_stay(stage: Stage) -> None:
    stage.script(Vouchers.issue, OutOfStock("sold out"))
    stage.client.run(ada.bonus.send(100))

    with pytest.raises(WorkflowFailed, match="sold out"):
        stage.client.run(ada.redeem(60))

    assert stage.client.run(ada.account()) == Account(100, "bronze")


def test_points_can_be_given_to_another_member(stage: Stage) -> None:
    stage.client.start(Loyalty.run("Grace"), id="grace")
    stage.client.run(ada.bonus.send(100))
    stage.client.run(ada.give(to="grace", points=30))
    stage.settle()

    assert stage.client.run(ada.account()) == Account(70, "bronze")
    assert stage.client.run(Loyalty.by_id("grace").account()) == Account(30, "bronze")


def test_what_nobody_takes_comes_back(stage: Stage) -> None:
    stage.client.run(ada.bonus.send(100))

    with pytest.raises(WorkflowFailed, match="there is no Loyalty instance with the id 'nobody'"):
        stage.client.run(ada.give(to="nobody", points=30))

    assert stage.client.run(ada.account()) == Account(100, "bronze")


def test_a_post_office_on_strike_ends_no_membership(stage: Stage) -> None:
    stage.script(Mail.send, ConnectionError("on strike"))
    stage.client.run(ada.bonus.send(200))
    stage.advance(days=7)

    assert stage.client.run(ada.account()) == Account(210, "silver")


def test_whoever_leaves_gets_back_what_was_not_spent(stage: Stage, mail: LetterBox) -> None:
    stage.takes(Vouchers.issue, hours=1)
    stage.script(Vouchers.issue, OutOfStock("sold out"))
    stage.client.run(ada.bonus.send(100))
    stage.client.start(ada.redeem(60))
    stage.client.run(ada.close())

    assert stage.client.get("ada", Loyalty.run).result() == 100
    assert mail.letters == ["to Ada: goodbye, with 100 points"]


def test_whoever_leaves_gets_no_more_points(stage: Stage, mail: LetterBox) -> None:
    stage.advance(days=14)
    stage.client.run(ada.close())
    stage.advance(days=14)

    assert stage.client.get("ada", Loyalty.run).result() == 20
    assert mail.letters == ["to Ada: goodbye, with 20 points"]


def test_bonuses_and_weeks_are_counted_side_by_side() -> None:
    """The workflow alone: what it asks for is answered by the test."""
    begun = rehearse(Loyalty.run("Ada"))
    week, bonus = begun.waiting
    later = rehearse(Loyalty.run("Ada"), [TimerFired(week.position), SignalSent(Loyalty.bonus, 190)])

    assert week == sleep(days=7)
    assert bonus.kind == "receive"
    assert [one.kind for one in later.waiting] == [
        "timer",
        "task",
        "receive",
    ]  # the next week, the letter, the next bonus


def test_over_every_pair_of_servers_and_in_one_file(place: dict[str, Any], mail: LetterBox) -> None:
    with Worker(**place, workflows=[Loyalty], services=[mail, CornerShop()]), Client(**place) as client:
        handle = client.start(Loyalty.run("Ada"), id="ada")
        client.run(ada.bonus.send(250), timeout=10)
        voucher = client.run(ada.redeem(50), timeout=10)
        client.run(ada.close(), timeout=10)

        assert (voucher, handle.result(timeout=10)) == ("voucher 1 for 50 points", 200)
    assert sorted(mail.letters) == ["to Ada: goodbye, with 200 points", "to Ada: you are silver now"]
