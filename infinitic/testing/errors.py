"""What a test is told when it cannot go on as it was written."""

from __future__ import annotations

from infinitic.errors import InfiniticError, NonDeterminismError


class Stalled(InfiniticError):
    """What a test waits for will not come, however much time passes. *reason* says why, *waits* what is open."""

    def __init__(self, reason: str, waits: tuple[str, ...]) -> None:
        self.reason, self.waits = reason, waits
        super().__init__(reason, waits)

    def __str__(self) -> str:
        waits = "".join(f"\n  {one}" for one in self.waits) or " No instance is open."
        return f"This will never be answered: {self.reason}.{waits}"


class Unexpected(InfiniticError):
    """A rehearsal was given an answer that nobody waits for. *waiting* is what is open."""

    def __init__(self, answer: str, problem: str, waiting: tuple[str, ...]) -> None:
        self.answer, self.problem, self.waiting = answer, problem, waiting
        super().__init__(answer, problem, waiting)

    def __str__(self) -> str:
        waiting = "".join(f"\n  {one}" for one in self.waiting) or " nothing"
        return f"{self.answer}: {self.problem}. The workflow waits for{':' if self.waiting else ''}{waiting}"


class Unfinished(InfiniticError):
    """The result of a rehearsal was asked for, and it has none. *waiting* is what it waits for."""

    def __init__(self, workflow: str, status: str, waiting: tuple[str, ...]) -> None:
        self.workflow, self.status, self.waiting = workflow, status, waiting
        super().__init__(workflow, status, waiting)

    def __str__(self) -> str:
        if not self.waiting:
            return f"{self.workflow} has no result: it is {self.status}"
        waits = "".join(f"\n  {one}" for one in self.waiting)
        return f"{self.workflow} has no result yet: it waits for answers to{waits}"


class Undetermined(NonDeterminismError):
    """The code asked for the same when it was replayed, and came to something else all the same."""

    def __str__(self) -> str:
        return (
            f"{self.workflow_id}: {self.file}:{self.line} came to {self.recorded}, and, replayed from its history, to "
            f"{self.replayed}. Workflow code sees the world through its commands alone: take time, random numbers and "
            "ids from now(), random and uuid4(), and all else from tasks or inline(…)."
        )
