"""The pool of children: runs tasks as the executor does, in processes that may die of them.

What had begun in a child that died is suspect, and runs next in a child that runs nothing else, one after the other;
dying there counts. What had not begun is innocent, and goes to another child.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Self

from msgspec import Raw

from infinitic.events import NULL, Heartbeat
from infinitic.messages import Delivery, Message, event_of
from infinitic.worker.applying import DEATHS
from infinitic.worker.children_deaths import instances_among
from infinitic.worker.children_pipes import Applied, Back, Cancel, Deaths, Goes, Over, Run, Up
from infinitic.worker.children_process import Child
from infinitic.worker.supervisor import Supervisor
from infinitic.worker.tasks import TaskStep, with_details
from infinitic.worker.work import Finished, Said, Underway

NAMED = 3
"""How many of the tasks that died are named."""


class Task:
    """A task in the pool, and what is known of it."""

    def __init__(self, number: int, delivery: Delivery) -> None:
        self.number, self.delivery = number, delivery
        self.deaths, self.suspect = delivery.deaths, delivery.suspect
        self.waited = self.unwanted = False
        self._details: Raw | None = None  # of its last heartbeat

    @property
    def dangerous(self) -> bool:
        """Whether it must run alone. What died often enough runs no more: it is only answered."""
        return self.suspect and self.deaths < DEATHS

    def hear(self, said: Message) -> None:
        """It may have said this: should its process die, it runs again with the details of its last heartbeat."""
        asked = self.delivery.message
        if said.position != asked.position or (said.workflow_id, said.run) != (asked.workflow_id, asked.run):
            return
        event = event_of(Delivery("", said))
        if isinstance(event, Heartbeat) and bytes(event.details) != bytes(NULL):
            self._details = event.details

    def run(self) -> Run:
        message = self.delivery.message
        if self._details is not None:
            message = with_details(message, self._details)
        return Run(self.number, self.delivery.topic, message, self.deaths, self.suspect)

    def __str__(self) -> str:
        asked = self.delivery.message
        label = self.delivery.topic.partition(":")[2]
        what = f"death {self.deaths} of {DEATHS}" if self.deaths else "runs next alone"
        return f"{label} for {asked.workflow_id or asked.id} ({what})"


class Desk:
    """A child, and the tasks that it was given and has not answered."""

    def __init__(self, child: Child, room: int) -> None:
        self.child = child
        self.tasks: dict[int, Task] = {}
        self.room = room  # how many there may be
        self.alone = False  # what it runs must run alone

    @property
    def free(self) -> int:
        """How many more it may be given."""
        return max(0, self.room - len(self.tasks))


class ChildPool:
    """A `Runner` over *processes* children of *command*, and the `Listener` to them.

    *gave_up* is called when no more children can be started, as `supervisor.error` says.
    """

    def __init__(self, command: Sequence[str], processes: int, gave_up: Callable[[], None] = lambda: None) -> None:
        self.supervisor = Supervisor(command, processes, self, gave_up)
        self.consumer: Underway | None = None
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._desks: dict[Child, Desk] = {}
        self._waiting: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._instances: dict[str, int] = {}  # deaths, by what was applied
        self._concurrency = 0
        self._step: TaskStep | None = None
        self._finished: Callable[..., None] = lambda *those: None
        self._closed = False

    def runner(self, step: TaskStep, concurrency: int, finished: Callable[..., None]) -> Self:
        """This pool as a worker's `runner`, once all children serve: each runs *concurrency* tasks at once.

        Raises what keeps any of them from it. *finished* is called in threads of the supervisor's.
        """
        self._step, self._concurrency, self._finished = step, concurrency, finished
        self.supervisor.start()
        return self

    # --- what the worker asks ---

    def capacity(self) -> int:
        """How many more tasks may be taken now."""
        with self._lock:
            return max(0, sum(one.free for one in self._open()) - len(self._waiting))

    def submit(self, deliveries: Sequence[Delivery]) -> None:
        """Run these; each is answered by a `Finished`. Once closed nothing begins: the consumer gives them back."""
        with self._lock:
            self._queue(*(Task(next(self._numbers), one) for one in deliveries if not self._closed))
            self._hand_out()

    def cancel(self, task_id: str) -> None:
        """A workflow wants the task no more: the child that has it is told, what waits does not begin."""
        with self._lock:
            for desk in self._desks.values():
                here = [one for one in desk.tasks.values() if one.delivery.message.id == task_id]
                for one in here:
                    one.unwanted = True
                if here:
                    desk.child.send(Cancel(task_id))
            waiting = [*self._waiting, *self._suspects]
            for one in waiting:
                one.unwanted = one.unwanted or one.delivery.message.id == task_id
            self._waiting.clear()
            self._suspects.clear()
            over = self._queue(*waiting)
            self._hand_out()
        self._tell(over)

    def give_back(self) -> list[Delivery]:
        """Tasks that no child has had room for since the last call. Suspects stay, for others know nothing of them."""
        with self._lock:
            stale = [one for one in self._waiting if one.waited]
            self._waiting = deque(one for one in self._waiting if not one.waited)
            for one in self._waiting:
                one.waited = not one.suspect
        return [one.delivery for one in stale]

    def on_task_thread(self) -> bool:
        return False

    def rouse(self) -> None:
        """Nothing: no thread of this process waits for a task."""

    def replace_thread(self) -> None:
        """Nothing: no workflow's code runs in this process."""

    def close(self) -> None:
        """Begin nothing more; what runs goes on, and is answered."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._suspects.clear()
        self.supervisor.drain()

    def wait_idle(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds until all that ran is over; whether that is so."""
        return self.supervisor.wait_drained(timeout)

    def stop(self) -> None:
        """End the children, whatever they do."""
        self.supervisor.stop()

    # --- who gets what: with the lock ---

    def _queue(self, *tasks: Task) -> list[Finished]:
        """Have these wait for a child; the answers of those that nobody wants any more."""
        for one in tasks:
            if not one.unwanted:
                (self._suspects if one.dangerous else self._waiting).append(one)
        assert self._step is not None
        return [Finished(one.delivery, self._step.unwanted(one.delivery)) for one in tasks if one.unwanted]

    def _tell(self, over: Sequence[Finished | Said]) -> None:
        """To be called without the lock."""
        if over:
            self._finished(*over)

    def _serving(self) -> list[Desk]:
        return [one for one in self._desks.values() if one.child.ready and not self._closed]

    def _for_suspects(self) -> Desk | None:
        """The desk that gets the next suspect, once it is empty, and nothing else until then: the least busy one."""
        desks = self._serving()
        wanted = self._suspects and not any(one.alone for one in desks)
        return min(desks, key=_load, default=None) if wanted else None

    def _open(self) -> list[Desk]:
        """Those that may get what is not suspect."""
        kept = self._for_suspects()
        return [one for one in self._serving() if one is not kept and not one.alone]

    def _hand_out(self) -> None:
        """Give out what waits, as far as there is room, to the least busy."""
        given: dict[Desk, list[Run]] = {}
        kept = self._for_suspects()
        if kept is not None and not kept.tasks:
            self._give(kept, self._suspects.popleft(), given)
        desks = self._open()
        while self._waiting and (free := [one for one in desks if one.free]):
            self._give(min(free, key=_load), self._waiting.popleft(), given)
        for desk, runs in given.items():
            desk.child.send(*runs)

    def _give(self, desk: Desk, task: Task, given: dict[Desk, list[Run]]) -> None:
        desk.tasks[task.number] = task
        desk.alone = task.dangerous
        given.setdefault(desk, []).append(task.run())
        if self.consumer is not None:
            self.consumer.began(task.delivery)

    def _take(self, desk: Desk, number: int) -> Task:
        task = desk.tasks.pop(number)
        desk.alone = desk.alone and bool(desk.tasks)
        if self.consumer is not None:
            self.consumer.ended(task.delivery)
        return task

    # --- what children say, each in its own thread ---

    def born(self, child: Child) -> None:
        with self._lock:
            self._desks[child] = Desk(child, self._concurrency)
            if self._instances:
                child.send(Deaths(self._instances))

    def ready(self, child: Child) -> None:
        with self._lock:
            self._hand_out()

    def came(self, child: Child, frames: Sequence[Up]) -> None:
        over: list[Finished | Said] = []
        with self._lock:
            desk = self._desks[child]
            for frame in frames:
                match frame:
                    case Over(number, answer, room):
                        desk.room = room
                        over.append(Finished(self._take(desk, number).delivery, answer))
                    case Goes(message):
                        for one in desk.tasks.values():
                            one.hear(message.message)
                        over.append(Said(message))
                    case Back(numbers, room):
                        desk.room = room
                        over += self._queue(*(self._take(desk, number) for number in numbers))
                    case Applied(workflow_id):
                        self._count({workflow_id: 0})
            self._hand_out()
        self._tell(over)

    def died(self, child: Child, running: Sequence[str]) -> str:
        applied = instances_among(running)
        numbers = {int(one) for one in running if one.isdigit()}
        with self._lock:
            desk = self._desks.pop(child)
            tasks = [self._take(desk, number) for number in [*desk.tasks]]
            begun = [one for one in tasks if one.number in numbers]
            for one in begun:
                one.deaths += one.suspect and len(numbers) == 1
                one.suspect = True
            over = self._queue(*tasks)
            self._count({id: self._instances.get(id, 0) + 1 for id in applied})
            told = [*map(str, begun), *(f"{id} (death {self._instances[id]} of {DEATHS})" for id in applied)]
            self._hand_out()
        self._tell(over)
        return _while(told)

    def _count(self, instances: dict[str, int]) -> None:
        if instances:
            self._instances = {id: deaths for id, deaths in (self._instances | instances).items() if deaths}
            self.supervisor.tell(Deaths(instances))


def _load(desk: Desk) -> int:
    return len(desk.tasks)


def _while(told: Sequence[str]) -> str:
    """What it did, in words."""
    if not told:
        return ""
    more = f" and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return f" while it ran {', '.join(told[:NAMED])}{more}"
