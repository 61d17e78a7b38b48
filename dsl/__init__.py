"""The language of durable workflows: what describes tasks and workflows. Pure: by itself it does nothing."""

from dsl.calls import Call, Query
from dsl.channels import Channel, Mailbox, Sender
from dsl.combinators import Outcome, first, gather, race, settle, timeout
from dsl.commands import Command, Flow
from dsl.compensations import compensations
from dsl.context import (
    CurrentTask,
    CurrentWorkflow,
    current_batch,
    current_task,
    current_workflow,
    logger,
    now,
    patched,
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
    WorkflowTerminated,
    WorkflowTimedOut,
)
from dsl.inlines import continue_as_new, inline
from dsl.policies import Retry
from dsl.services import Batch, Service, Task, task
from dsl.tags import add_tags, remove_tags
from dsl.timers import sleep, sleep_until
from dsl.workflows import Tagged, Workflow, WorkflowFunction, method, query, workflow

# fmt: off
__all__ = [
    "Batch", "BranchCancelled", "Call", "Cancelled", "Channel", "Command", "CurrentTask", "CurrentWorkflow",
    "Deferred", "DoNotRetry", "Flow", "InfiniticError", "InvalidId", "Mailbox", "Outcome", "OutsideTask",
    "OutsideWorkflow", "ProtocolError", "Query", "ReadOnly", "RemoteError", "Retry", "RetryIn", "Sender",
    "Service", "Tagged", "Task", "TaskCancelled", "TaskFailed", "TaskTimedOut", "UnknownWorkflow",
    "WorkerLost", "Workflow", "WorkflowCancelled", "WorkflowExists", "WorkflowFailed", "WorkflowFinished",
    "WorkflowFunction", "WorkflowTerminated", "WorkflowTimedOut", "add_tags", "compensations",
    "continue_as_new", "current_batch", "current_task", "current_workflow", "dispatch", "first", "gather",
    "inline", "logger", "method", "now", "patched", "query", "race", "random", "remove_tags", "settle",
    "sleep", "sleep_until", "spawn", "task", "timeout", "uuid4", "workflow", "workflow_id",
]
# fmt: on
