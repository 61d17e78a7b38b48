"""The public `Worker`: what serves workflows and services until it is told to stop."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeAlias

from dsl.calls import as_timeout
from dsl.context import WORKFLOW
from dsl.inlines import Inline
from dsl.policies import Retry
from dsl.services import Service, Task
from dsl.timers import Duration
from dsl.workflows import Check, Workflow, WorkflowFunction
from infinitic.backends import Backend
from infinitic.backends.urls import open_backend
from infinitic.clock import SECOND, Clock, steady, system_clock
from infinitic.config import load_config
from infinitic.engine.instance import Surroundings
from infinitic.errors import RegistrationError
from infinitic.serialization import Codec, Serializer
from infinitic.transports import Consumer
from infinitic.worker.batches import Conductor
from infinitic.worker.changes import TOMBSTONE
from infinitic.worker.dropped import dropped_calls
from infinitic.worker.executor import Executor
from infinitic.worker.loops import Loops
from infinitic.worker.registry import Registry
from infinitic.worker.source import source_line
from infinitic.worker.stopping import asked_to_stop
from infinitic.worker.tasks import TaskStep
from infinitic.worker.watching import MARK, Mode, checked_mode, watch_over
from infinitic.worker.work import Runner

MakeRunner: TypeAlias = Callable[[TaskStep, int, Callable[..., None]], Runner]
"""From a step, a concurrency, and whom to tell of the attempts that are over or have something to say: a `Finished` or
`Said` for each."""

log = logging.getLogger("infinitic.worker")


class Worker:
    """Serves workflows, services, or both. `with worker:` in background threads; `worker.run()` until a signal.

    The URL, or the pair of *transport* and *storage*, is as for `Client`, and so is any other setting in *config*, as
    `namespace`, or `pulsar` for a table; what is not given the configuration decides.
    *concurrency* is how many tasks run at once (default 16). *retry* and *timeout* (of an attempt, in seconds or a
    timedelta) go before what the tasks themselves declare. *check* is for workflows that do not say themselves how
    replays compare them with history: see `@workflow`. *retention* is how long ended instances are kept, in
    seconds (default 7 days). *codecs* are payload codecs such as `PickleCodec`. *watch* is for development and tests:
    "warn" logs with file and line what workflow code does that it must not do (I/O, clocks, chance), "error" suspends
    the instance instead. *cache_instances* are kept at hand (default 10,000); *name* is the worker's in histories.

    Tasks run in this process, and when one kills it, that is counted over SQLite alone: over a broker run
    `infinitic worker`, which has tasks and workflows run in processes of their own, and counts.

    Raises `RegistrationError` for what cannot be served, `ConfigurationError` for a URL that cannot be used; entering
    or running it raises `StorageError` or `TransportError`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        transport: str | None = None,
        storage: str | None = None,
        workflows: Sequence[WorkflowFunction[..., Any, Any] | type[Workflow]] = (),
        services: Sequence[Service | type[Service] | Task[..., Any, Any]] = (),
        concurrency: int | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        check: Check | None = None,
        retention: float | None = None,
        cache_instances: int | None = None,
        codecs: Sequence[Codec] = (),
        watch: Mode = "off",
        name: str | None = None,
        clock: Clock = system_clock,
        loops: Callable[[], Loops] = Loops,
        **config: Any,
    ) -> None:
        self._config = load_config(
            url,
            transport=transport,
            storage=storage,
            concurrency=concurrency,
            retention=retention,
            cache_instances=cache_instances,
            **config,
        )
        self._codec, self._clock = Serializer(codecs, self._config.largest_payload), clock
        self._watch = checked_mode(watch)
        self._make_loops = loops
        # in a supervisor tasks run elsewhere, and in its children deaths are counted: to be set before the start
        self.make_runner: MakeRunner = Executor
        self.around: Callable[[Consumer], Consumer] | None = None
        self.name = name or own_name()
        limit = as_timeout(timeout, "Worker(timeout=)")
        self.registry = Registry(workflows, services, codec=self._codec, retry=retry, timeout=limit, check=check)
        self._look_at_code()
        self._loops: Loops | None = None

    def _look_at_code(self) -> None:
        """Warn of what can be seen to be wrong. Raises `RegistrationError` when there is nothing."""
        if not self.registry.programs and not self.registry.handlers:
            raise RegistrationError("this worker serves nothing", "Give it workflows=[…], services=[…], or both.")
        for program in self.registry.every_program:
            for line in dropped_calls(program):
                log.warning("%s", line)
            program.fingerprint += MARK if self._watch == "error" else ""

    # --- life ---

    def start(self) -> Self:
        """Begin to serve, in background threads."""
        if self._loops is not None:
            raise RuntimeError("this worker runs already")
        loops = self._make_loops()
        with ExitStack() as undo:  # what was made, should the rest fail
            backend = open_backend(self._config, "worker", self._clock)
            undo.callback(backend.close)
            step = TaskStep(self.registry, self._codec, self._clock, self.name)
            runner = self.make_runner(step, self._config.concurrency, loops.finished)
            undo.callback(runner.stop)
            conductor = self._conductor_of(backend, runner, loops)
            undo.pop_all()
        runner.consumer = conductor.services
        self._backend, self._runner, self._conductor, self._loops = backend, runner, conductor, loops
        loops.start(conductor, runner)
        return self

    def _conductor_of(self, backend: Backend, runner: Runner, loops: Loops) -> Conductor:
        surroundings = Surroundings(self._codec, source_line, run_inline)
        conductor = Conductor(
            backend,
            self.registry,
            surroundings,
            runner,
            clock=steady(self._clock),
            retention=round((self._config.retention + TOMBSTONE) * SECOND),
            cache_instances=self._config.cache_instances,
            cache_bytes=self._config.cache_bytes,
            ready=loops.ready,
        )
        if self._watch != "off":
            watch_over(conductor.applier, self._watch, surroundings, backend.storage)
        if self.around is not None and conductor.workflows is not None:
            conductor.workflows = self.around(conductor.workflows)
        return conductor

    def close(self, drain: float = 30.0) -> None:
        """Stop: begin nothing more, wait up to *drain* seconds for running tasks, commit, give the rest back."""
        loops, self._loops = self._loops, None
        if loops is None:
            return
        self._runner.close()
        self._runner.wait_idle(drain)
        loops.stop()
        with ExitStack() as rest:  # in reverse, each whatever becomes of the others
            rest.callback(self._backend.close)
            rest.callback(self._conductor.close)
            rest.callback(self._runner.stop)

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM, then drain; a second signal ends the process at once, with status 130.

        Must be called on the main thread.
        """
        with asked_to_stop() as wait, self:
            wait()
            log.info("stopping: waiting for the tasks that run; once more to stop at once")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def own_name() -> str:
    """What a worker is called that was given no name: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def run_inline(command: Inline[Any]) -> Any:
    """Run an inline function as if outside of the workflow: it can ask for nothing."""
    token = WORKFLOW.set(None)
    try:
        return command.fn(*command.args, **command.kwargs)
    finally:
        WORKFLOW.reset(token)
