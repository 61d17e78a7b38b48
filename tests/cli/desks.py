"""A workflow that chooses among its signals."""

from infinitic import Channel, Flow, Workflow, method


class Desk(Workflow):
    """Chooses among its papers; it is broken until somebody mends it."""

    papers = Channel(int)
    rings = Channel(int, buffered=False)
    broken = True

    @method
    def run(self) -> Flow[int]:
        found = yield from self.papers.receive(int, where=self.large)
        if Desk.broken:
            raise LookupError("broken")
        return found + (yield from self.papers.receive())

    @staticmethod
    def large(number: int) -> bool:
        return number > 100 // abs(number - 7)
