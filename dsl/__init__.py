"""The language of durable workflows: what describes tasks and workflows. Pure: by itself it does nothing."""

from dsl.calls import Call, Query
from dsl.channels import Channel, Mailbox, Sender
from dsl.combinators import Outcome, first, gather, race, settle, timeout
from dsl.commands import Command, Flow
from dsl.compensations import compensations
from dsl.context import (
    CurrentTask,
    CurrentWorkflow,
    current_task,
    current_workflow,
    logger,
    now,
    random,
    uuid4,
    workflow_id,
)
from dsl.deferreds import Deferred, dispatch, spawn
from dsl.errors import (
    BranchCancelled,
    Cancelled,
    DoNotRetry,
    InfiniticError,
    InvalidId,
    OutsideTask,
    OutsideWorkflow,
    ProtocolError,
    ReadOnly,
    RemoteError,
    RetryIn,
    TaskCancelled,
    TaskFailed,
    TaskTimedOut,
    UnknownWorkflow,
    WorkerLost,
    WorkflowCancelled,
    WorkflowExists,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTimedOut,
)
from dsl.inlines import continue_as_new, inline
from dsl.policies import Retry
from dsl.services import Service, Task, task
from dsl.timers import sleep, sleep_until
from dsl.workflows import Workflow, WorkflowFunction, method, query, workflow

# fmt: off
__all__ = [
    "BranchCancelled", "Call", "Cancelled", "Channel", "Command", "CurrentTask", "CurrentWorkflow",
    "Deferred", "DoNotRetry", "Flow", "InfiniticError", "InvalidId", "Mailbox", "Outcome", "OutsideTask",
    "OutsideWorkflow", "ProtocolError", "Query", "ReadOnly", "RemoteError", "Retry", "RetryIn", "Sender",
    "Service", "Task", "TaskCancelled", "TaskFailed", "TaskTimedOut", "UnknownWorkflow", "WorkerLost",
    "Workflow", "WorkflowCancelled", "WorkflowExists", "WorkflowFailed", "WorkflowFinished",
    "WorkflowFunction", "WorkflowTimedOut", "compensations", "continue_as_new", "current_task",
    "current_workflow", "dispatch", "first", "gather", "inline", "logger", "method", "now", "query", "race",
    "random", "settle", "sleep", "sleep_until", "spawn", "task", "timeout", "uuid4", "workflow",
    "workflow_id",
]
# fmt: on
