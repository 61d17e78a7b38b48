"""One member of a loyalty programme: an instance that lives for years, with a balance and several entrances."""

from contextlib import suppress
from typing import Any, TypeVar

from infinitic import (
    BranchCancelled,
    Call,
    Channel,
    Deferred,
    Flow,
    Workflow,
    dispatch,
    method,
    query,
    settle,
    sleep,
    spawn,
    uuid4,
)
from samples.loyalty.contract import Account, Mail, NotEnoughPoints, Vouchers

T = TypeVar("T")

A_WEEK = 10
TIERS = {"gold": 1_000, "silver": 200, "bronze": 0}  # points that were earned in all


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.member, self.tier = "", "bronze"
        self.points = self.earned = 0
        self.earning: list[Deferred[None]] = []
        self.spending: list[Deferred[Any]] = []

    @method
    def run(self, member: str) -> Flow[int]:
        """Collect points until the account is closed; gives those that are left."""
        self.member = member
        self.earning = [spawn(self.earn_weekly()), spawn(self.earn_bonuses())]
        for one in self.earning:
            with suppress(BranchCancelled):  # by close()
                yield from one
        yield from settle(*self.spending)  # what cannot be spent comes back
        return self.points

    def earn_weekly(self) -> Flow[None]:
        while True:
            yield from sleep(days=7)
            self.add(A_WEEK)

    def earn_bonuses(self) -> Flow[None]:
        while True:
            self.add((yield from self.bonus.receive()))

    def add(self, points: int) -> None:
        self.points += points
        self.earned += points
        tier = next(name for name, least in TIERS.items() if self.earned >= least)
        if tier != self.tier:
            self.tier = tier
            dispatch(self.letter(f"you are {tier} now"))  # nobody waits: what fails is this letter alone

    def letter(self, text: str) -> Call[None]:
        return Mail.send(str(uuid4()), self.member, text)

    @method
    def redeem(self, points: int) -> Flow[str]:
        """Buy a voucher. Raises `NotEnoughPoints`; the points come back when the shop has none."""
        return (yield from self.spend(points, Vouchers.issue(str(uuid4()), points)))

    @method
    def give(self, to: str, points: int) -> Flow[None]:
        """Hand points over to another member. Raises `NotEnoughPoints`; they come back when there is no such member."""
        yield from self.spend(points, Loyalty.by_id(to).credit(points))

    @method
    def credit(self, points: int) -> None:
        """Take points that another member gives."""
        self.add(points)

    def spend(self, points: int, on: Call[T]) -> Flow[T]:
        if not 0 < points <= self.points:
            raise NotEnoughPoints(points, self.points)
        self.points -= points  # before the yield: others may spend meanwhile
        spending = spawn(self.spent(points, on))
        self.spending.append(spending)
        return (yield from spending)

    def spent(self, points: int, on: Call[T]) -> Flow[T]:
        """Runs on when whoever asked for it does not wait any more."""
        try:
            return (yield from on)
        except Exception:
            self.points += points
            raise

    @method
    def close(self) -> Flow[None]:
        """End the membership: no more points. What is under way is finished."""
        for one in self.earning:
            one.cancel()
        yield from settle(*self.spending)
        yield from self.letter(f"goodbye, with {self.points} points")

    @query
    def account(self) -> Account:
        return Account(self.points, self.tier)
