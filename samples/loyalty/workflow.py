"""One member of a loyalty programme: an instance that lives for years, with a balance and several entrances."""

from contextlib import suppress

from infinitic import BranchCancelled, Channel, Deferred, Flow, Workflow, method, query, sleep, spawn, uuid4
from samples.loyalty.contract import Account, Mail, NotEnoughPoints, Vouchers

A_WEEK = 10
TIERS = {"gold": 1_000, "silver": 200, "bronze": 0}  # points that were earned in all


class Loyalty(Workflow):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.member, self.tier = "", "bronze"
        self.points = self.earned = 0
        self.earning: list[Deferred[None]] = []

    @method
    def run(self, member: str) -> Flow[int]:
        """Collect points until the account is closed; gives those that are left."""
        self.member = member
        self.earning = [spawn(self.earn_weekly()), spawn(self.earn_bonuses())]
        for one in self.earning:
            with suppress(BranchCancelled):  # by close()
                yield from one
        return self.points

    def earn_weekly(self) -> Flow[None]:
        while True:
            yield from sleep(days=7)
            yield from self.add(A_WEEK)

    def earn_bonuses(self) -> Flow[None]:
        while True:
            yield from self.add((yield from self.bonus.receive()))

    def add(self, points: int) -> Flow[None]:
        self.points += points
        self.earned += points
        tier = next(name for name, least in TIERS.items() if self.earned >= least)
        if tier != self.tier:
            self.tier = tier
            yield from Mail.send(str(uuid4()), self.member, f"you are {tier} now")

    @method
    def redeem(self, points: int) -> Flow[str]:
        """Buy a voucher. Raises `NotEnoughPoints`; keeps the points when the shop has none."""
        if points > self.points:
            raise NotEnoughPoints(points, self.points)
        self.points -= points  # before the yield: another redeem() may run meanwhile
        try:
            return (yield from Vouchers.issue(str(uuid4()), points))
        except Exception:
            self.points += points
            raise

    @method
    def give(self, to: str, points: int) -> Flow[None]:
        """Hand points over to another member. Raises `NotEnoughPoints`."""
        if points > self.points:
            raise NotEnoughPoints(points, self.points)
        self.points -= points
        yield from Loyalty.by_id(to).bonus.send(points)

    @method
    def close(self) -> Flow[None]:
        """End the membership: no more points. What is under way is finished."""
        for one in self.earning:
            one.cancel()
        yield from Mail.send(str(uuid4()), self.member, f"goodbye, with {self.points} points")

    @query
    def account(self) -> Account:
        return Account(self.points, self.tier)
