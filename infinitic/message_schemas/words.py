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
META = "What travels along with the instance and the call, by text keys; the call's go first."

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
        "reply_to": REPLY_TO,
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
            'What the call itself says, where it does: "timeout" is how long the attempt may take, in microseconds; '
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
    },
    "Query": {"name": "The name of the query.", "arguments": ARGUMENTS},
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
        "timeout": "How long the whole run may take, in microseconds. 0: as long as it likes.",
        "version": "The version of the workflow's code.",
        "sent": "When the start was asked for, in microseconds since 1970 (UTC), by the sender's clock. 0: not told.",
        "previous": 'The run id of the run before, of which this one is the continuation. "": of none.',
        "first": 'The run id of the first run of the chain. "": this one.',
        "signals": "The signals that the run before had not received.",
        "senders": "The ids of what came for the run before from outside, by which repeats are known.",
    },
    "TaskCompleted": {
        "position": POSITION,
        "value": f"What the task returned. {VALUE}",
        "attempt": "The number of the attempt. To be copied from the request.",
        "worker": WORKER,
        "began": BEGAN,
        "ended": ENDED,
    },
    "AttemptFailed": {
        "position": POSITION,
        "error": "What went wrong.",
        "attempt": "The number of the attempt. To be copied from the request. Another one's failure counts no more.",
        "retry_in": (
            "In how many microseconds the next attempt is to be sent: the service worker decides. 0: at once. null: "
            "never, the task has failed."
        ),
        "timed_out": "Whether the attempt was given up because it took longer than its timeout.",
        "worker": WORKER,
        "began": BEGAN,
        "ended": ENDED,
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
