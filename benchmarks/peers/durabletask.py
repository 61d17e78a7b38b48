"""Microsoft's durabletask: its executor rebuilds an orchestration from the request that its server would send."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import Any

from durabletask.internal import helpers
from durabletask.internal import orchestrator_service_pb2 as protocol
from durabletask.serialization import DEFAULT_DATA_CONVERTER
from durabletask.worker import _OrchestrationExecutor, _Registry

NOTE = "OrchestratorRequest parsed, then the worker's own executor over its events"
ID = "wf-1"


def add(context: Any, argument: dict[str, int]) -> int:
    raise NotImplementedError


def chain(context: Any, steps: int) -> Generator[Any, Any, int]:
    total = 0
    for number in range(steps):
        total = yield context.call_activity(add, input={"total": total, "number": number})
    return total


def replays(steps: int) -> Iterator[float]:
    """How many seconds each of endless replays takes."""
    registry = _Registry()
    registry.add_orchestrator(chain)
    logger = logging.getLogger("durabletask")
    logger.setLevel(logging.WARNING)
    body = request(steps).SerializeToString()
    while True:
        began = time.perf_counter()
        asked = protocol.OrchestratorRequest.FromString(body)
        executor = _OrchestrationExecutor(registry, logger, DEFAULT_DATA_CONVERTER)
        result = executor.execute(asked.instanceId, asked.pastEvents, asked.newEvents)
        took = time.perf_counter() - began
        (action,) = result.actions
        assert action.completeOrchestration.orchestrationStatus == protocol.ORCHESTRATION_STATUS_COMPLETED, action
        assert action.completeOrchestration.result.value == str(steps - 1), action
        yield took


def request(steps: int) -> Any:
    """What a worker is sent when the last task is done: all before as history, its answer as what is new."""
    started = helpers.new_orchestrator_started_event(datetime(2026, 1, 1, tzinfo=UTC))
    past = [started, helpers.new_execution_started_event("chain", ID, json.dumps(steps))]
    new: list[Any] = []
    for number in range(steps):
        asked = json.dumps({"total": max(0, number - 1), "number": number})
        past += [
            *new,
            helpers.new_task_scheduled_event(number + 1, "add", asked),
            helpers.new_orchestrator_completed_event(),
        ]
        new = [started, helpers.new_task_completed_event(number + 1, json.dumps(number))]
    return protocol.OrchestratorRequest(instanceId=ID, pastEvents=past, newEvents=new)
