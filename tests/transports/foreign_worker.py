"""A service worker that knows nothing of Infinitic for Python but the page about its messages.

`python -I foreign_worker.py pulsar://host:6650 TENANT/NAMESPACE` serves `service:Shapes` until it is ended.
"""

import json
import os
import sys
import time

import pulsar

SERVICE = "Shapes"
NEVER = None


class GiveUp(Exception):
    """Trying again would not help."""


def area(width, height):
    return width * height


def flaky(attempt, succeeds_at):
    if attempt < succeeds_at:
        raise ValueError(f"attempt {attempt} is too early")
    return attempt


def impossible():
    raise GiveUp("no such shape")


def run(request, attempt):
    """What the task answers. Raises whatever it raises."""
    given = request.get("arguments") or {}
    match request["name"]:
        case "area":
            return area(**given)
        case "flaky":
            return flaky(attempt, **given)
        case "impossible":
            return impossible()
        case name:
            raise GiveUp(f"{SERVICE} has no task {name!r}")


def now():
    return time.time_ns() // 1_000


def answer(message):
    """The message that answers a task's: with what names the attempt copied from there, and an event of its own."""
    began = now()
    event = {"id": "", "position": message["position"], "attempt": message["attempt"], "worker": "foreign"}
    try:
        event |= {"kind": "completed", "value": run(message["payload"], message["attempt"])}
    except Exception as error:
        told = {"type": f"shapes:{type(error).__name__}", "message": str(error)}
        retry_in = NEVER if isinstance(error, GiveUp) else 1_000
        event |= {"kind": "attempt_failed", "error": told, "retry_in": retry_in}
    copied = ("workflow", "workflow_id", "run", "position", "attempt", "root", "headers")
    envelope = {name: message[name] for name in copied if name in message}
    event |= {"began": began, "ended": now()}
    return {**envelope, "kind": "event", "id": "", "at": now(), "sender": "foreign", "payload": event}


def partition(message, count):
    """As Java's client does by default: `String.hashCode`, which goes over UTF-16."""
    units = memoryview(message.partition_key().encode("utf-16-le")).cast("H")
    code = 0
    for unit in units:
        code = (31 * code + unit) & 0xFFFFFFFF
    return (code & 0x7FFFFFFF) % count


def serve(url, namespace):
    place = f"persistent://{namespace}"
    client = pulsar.Client(url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    consumer = client.subscribe(
        f"{place}/service:{SERVICE}",
        "infinitic",
        consumer_type=pulsar.ConsumerType.Shared,
        initial_position=pulsar.InitialPosition.Earliest,
        receiver_queue_size=4,
    )
    producers = {}
    while True:
        came = consumer.receive()
        message = json.loads(came.data())
        topic = f"{place}/workflow:{message['workflow']}"
        if topic not in producers:
            producers[topic] = client.create_producer(topic, message_router=partition)
        body = json.dumps(answer(message)).encode()
        producers[topic].send(body, partition_key=message["workflow_id"])  # back with the broker's receipt
        consumer.acknowledge(came)


if __name__ == "__main__":
    serve(*sys.argv[1:])
