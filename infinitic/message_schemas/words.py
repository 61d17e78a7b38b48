"""What each field of a message means: its unit, who writes it, what its absence says."""

from __future__ import annotations

from collections.abc import Mapping

WORKER = "Which worker said this: any text, for people."
BEGAN = "When the attempt began, in microseconds since 1970 (UTC), by the service worker's clock. 0: not told."
ENDED = "When the attempt ended, in microseconds since 1970 (UTC), by the service worker's clock. 0: not told."
REPLY_TO = 'The id of the client that waits to hear what becomes of this; its topic is `client:<id>`. "": nobody waits.'
POSITION = "The address of the command that is answered, as the request named it. To be copied, never made up."
ARGUMENTS = "The arguments: a JSON object by parameter name. null: there are none."
VALUE = (
    'Any JSON. An object whose first key is "$codec" was written by a codec such as cloudpickle, and is for whoever '
    "has that."
)
TAGS = "The tags of the instance, and those of the call."
META = (
    "What travels along with the instance and the call, by text keys; the call's go first. An object whose one key is "
    '"$bytes" holds bytes, as base64.'
)

OF_FIELDS: Mapping[str, Mapping[str, str]] = {
    "Message": {
        "kind": "What the payload is.",
        "id": (
            "The key by which the receiver knows a repeat. Of a task: the same for each attempt, new in a new run, "
            'fit as an idempotency key. Of an answer: "". Of whatever else happens to an instance: the id of the '
            "event in the payload."
        ),
        "workflow": "The name of the workflow; what answers goes to the topic `workflow:<workflow>`.",
        "workflow_id": "The id of the instance, at most 255 bytes of UTF-8; the key of every message on its topic.",
        "run": (
            "The run of the instance that is meant; an answer for another run is dropped. To be copied from the "
            'request. "": whichever run there is.'
        ),
        "position": POSITION,
        "attempt": "The number of the attempt, from 1 on. To be copied from the request. 0: this is about no attempt.",
        "at": "When this was sent, in microseconds since 1970 (UTC), by the sender's clock. 0: not told.",
        "sender": "Who sent this: a worker, a client or another instance. For people.",
        "sequence": "For later use; absent today.",
        "reply_to": (
            f"{REPLY_TO} Of a task_started and a heartbeat: the service, which is told by its control topic if nobody "
            "wants the answer any more."
        ),
        "root": (
            'The workflow id of the topmost ancestor of the instance. To be copied from the request. "": not told.'
        ),
        "headers": (
            "Names and texts that travel with a request and its answer, such as a trace. To be copied from there. "
            'On a dead topic "reason" says why the message is there.'
        ),
        "codec": 'For later use; "json" today.',
        "payload": "What the kind says.",
        "format": (
            "The format of the message. A reader takes those up to one more than the highest it knows; a higher one "
            "waits in the inbox of its instance until a newer release runs."
        ),
    },
    "TaskRequest": {
        "service": "The name of the service.",
        "name": "The name of the task within its service.",
        "arguments": ARGUMENTS,
        "options": (
            'What the call itself says, where it does. In microseconds: "timeout" is how long the attempt may take, '
            '"heartbeat" how long it may say nothing, "queue_timeout" how long it may wait for a worker. '
            '"retry" is the policy: max_attempts, initial, factor, maximum (seconds), jitter (a part of 1), retry_on '
            'and never_on (lists of classes, as "module:Name").'
        ),
        "tags": TAGS,
        "meta": META,
        "previous": "Why the attempt before this one failed. null: this is the first.",
        "uncounted": (
            "How many of the attempts so far the retry policy does not count, because the run was retried by hand "
            "since. attempt - uncounted is what to compare with max_attempts."
        ),
        "details": "What the last heartbeat of the attempts before carried. Any JSON. null: nothing.",
        "lost": (
            "Whether the attempt before fell silent, so that nobody has asked the retry policy: a worker whose "
            "policy allows no further attempt answers with the failure instead of running this one."
        ),
        "watched": 'Whether a "task_started" is expected when the attempt begins.',
    },
    "Query": {"name": "The name of the query.", "arguments": ARGUMENTS},
    "Broadcast": {
        "tag": "The tag of those that are meant.",
        "event": "What happens to them. Each gets it under an id of its own, made of this one and the workflow id.",
        "workflow": 'The name of their workflow. "": any.',
        "after": 'Where the last page ended, as the storage names that. "": this is the first.',
    },
    "Ask": {"waits": 'Pairs of a workflow id and a call id. "" for the call: the result of the run.'},
    "Reply": {
        "workflow_id": "The instance that this is about.",
        "status": (
            "completed, failed, cancelled, timed_out: how the run or the call ended. received: the instance has the "
            "signal, the start or the cancellation. unknown, finished, exists, refused: why there will be no result."
        ),
        "call_id": 'The call, query, signal or start that is answered. "": the run.',
        "run": 'The run that this is about. "": not told.',
        "value": f"The result, when the status is completed. {VALUE}",
        "error": "Why it failed, when there is no result.",
        "retries": "How often the run had been retried by hand before this was said.",
    },
    "Event": {
        "id": (
            'The key by which a repeat is recognised. "" in an answer to a task, which is known by run, position and '
            "attempt."
        ),
    },
    "Started": {
        "workflow": "The name of the workflow.",
        "run": "The id of the new run: 32 random hexadecimal digits. A repeat of the message is the same run.",
        "method": 'The method that begins. "": the workflow is a function.',
        "arguments": ARGUMENTS,
        "tags": "The tags of the instance.",
        "meta": "What travels along with the instance, by text keys.",
        "caller": "The command of the parent that waits for the result. null: a client started this.",
        "root": 'The workflow id of the topmost ancestor. "": the instance itself.',
        "reply_to": REPLY_TO,
        "if_exists": "What becomes of this when the id is taken: attach, fail or restart.",
        "timeout": "How long the whole run may take, in microseconds, from when its code begins. 0: as it likes.",
        "cleanup_timeout": "How long a cancelled run may take for its cleanup, in microseconds. 0: as it likes.",
        "retention": "For how long the run is kept after its end, in microseconds. null: as its worker says.",
        "delay": "After how many microseconds the run's code begins.",
        "start_at": "When the run's code begins, in microseconds since 1970 (UTC). 0: at once, or after the delay.",
        "version": "The version of the workflow's code. 0: the highest that the worker has.",
        "also": "A signal or a call that comes in the same step, to an instance that exists too. null: nothing.",
        "sent": "When the start was asked for, in microseconds since 1970 (UTC), by the sender's clock. 0: not told.",
        "previous": 'The run id of the run before, of which this one is the continuation. "": of none.',
        "first": 'The run id of the first run of the chain. "": this one.',
        "began": "When that one began, in microseconds since 1970 (UTC). 0: this is the first.",
        "signals": "The signals that the run before had not received.",
        "senders": "The ids of what came for the run before from outside, by which repeats are known.",
    },
    "TaskCompleted": {
        "position": POSITION,
        "value": f"What the task returned. {VALUE}",
        "attempt": "The number of the attempt. To be copied from the request. 0: somebody else completed the task.",
        "worker": WORKER,
        "began": BEGAN,
        "ended": ENDED,
        "reply_to": REPLY_TO,
    },
    "AttemptFailed": {
        "position": POSITION,
        "error": "What went wrong.",
        "attempt": (
            "The number of the attempt. To be copied from the request. Another one's failure counts no more. 0: "
            "whichever there is, for good, because somebody else failed the task."
        ),
        "retry_in": (
            "In how many microseconds the next attempt is to be sent: the service worker decides. 0: at once. null: "
            "never, the task has failed."
        ),
        "timed_out": "Whether the attempt was given up because it took longer than its timeout.",
        "worker": WORKER,
        "began": BEGAN,
        "ended": ENDED,
        "details": "What the last heartbeat of the attempt carried. Any JSON. null: nothing.",
        "limit": (
            "Which timeout was broken, where it is not the attempt's own: heartbeat or queue_timeout. When began is 0, "
            "the attempt was not even run."
        ),
        "reply_to": REPLY_TO,
    },
    "TaskStarted": {
        "position": POSITION,
        "attempt": "The number of the attempt. To be copied from the request.",
        "worker": WORKER,
        "began": BEGAN,
        "heartbeat": "For how many microseconds the attempt may say nothing. 0: for ever.",
        "delegated": "Whether the task's function has returned, and somebody else will complete the task.",
    },
    "Heartbeat": {
        "position": POSITION,
        "attempt": "The number of the attempt. To be copied from the request.",
        "details": "What the next attempt is given, if it comes to that. Any JSON. null: nothing.",
    },
    "TimerFired": {
        "position": "The address of the command that waits.",
        "attempt": "Of a retry: the attempt that failed. 0: a timer of the workflow's own.",
    },
    "SignalReceived": {
        "channel": "The name of the channel.",
        "value": f"What is sent. {VALUE}",
        "reply_to": REPLY_TO,
    },
    "MethodCalled": {
        "method": "The name of the method.",
        "arguments": ARGUMENTS,
        "caller": "The command of another instance that waits for the answer. null: a client called.",
        "reply_to": REPLY_TO,
    },
    "TimersCompleted": {
        "method": 'The method, by its name or its call id, whose timers are over now. "": all timers of the instance.',
        "reply_to": REPLY_TO,
    },
    "TagsChanged": {
        "added": "The tags that the instance gets.",
        "removed": "The tags that it loses.",
        "reply_to": REPLY_TO,
    },
    "TerminateRequested": {
        "reason": "Why, for people.",
        "run": 'The run that is meant. "": whichever there is.',
        "reply_to": REPLY_TO,
    },
    "SuspendRequested": {"reason": "Why, for people.", "reply_to": REPLY_TO},
    "ResumeRequested": {"reply_to": REPLY_TO},
    "CancelRequested": {
        "call_id": 'The call to cancel. "": the whole run.',
        "run": 'The run that is meant. "": whichever there is.',
        "reply_to": REPLY_TO,
    },
    "Answered": {
        "position": "The address of the command that is answered.",
        "status": "completed, failed, cancelled or timed_out; exists, finished or unknown: why there is no answer.",
        "value": f"The result, when the status is completed. {VALUE}",
        "error": "Why it failed, when there is no result.",
        "workflow": "The workflow that answers.",
        "workflow_id": "The instance that answers.",
    },
    "Retried": {
        "voids": "The turn to begin anew from. -1: the one that failed the run.",
        "tasks": "Whether tasks that have failed run again, also where the run goes on.",
        "task": 'Of these, the tasks of one name. "": all.',
        "service": 'Of these, the tasks of one service. "": all.',
        "status": 'Of these, those that ended so: failed or timed_out. "": both.',
        "reply_to": REPLY_TO,
        "caller": "The parent that is told when there is no such run any more. null: a client retries.",
    },
    "Caller": {
        "workflow": "The workflow of whoever waits.",
        "workflow_id": "The instance that waits.",
        "run": "Its run.",
        "position": "The address of the command in it.",
    },
    "Signal": {
        "id": "The id of the event that brought it.",
        "channel": "The name of the channel.",
        "value": f"What was sent. {VALUE}",
    },
    "ErrorValue": {
        "type": 'The class of the error, as "module:Name". Another language may name its own: it is text.',
        "message": "What the error says.",
        "fields": "What the error carries, by name, as JSON.",
        "args": "What a Python exception was made with. null: not told.",
        "cause": "The error that this one came from. null: none.",
        "notes": "Lines added to it on its way.",
        "stack": "Where it was raised, the outermost line first.",
        "traceback": "The stack as the language itself prints it.",
    },
    "Frame": {
        "file": "The file.",
        "line": "The line's number, from 1 on.",
        "function": "The function.",
        "source": 'The text of the line. "": not known.',
    },
}
"""Struct → field → what it means. A test keeps it complete."""
