"""`Client` and `Handle`: what starts, calls, queries, signals, cancels and awaits workflows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Generic, Self, TypeVar, overload

from dsl.calls import Call, MethodCall, Query, Send, StartCall
from dsl.timers import Duration, microseconds
from dsl.workflows import Workflow
from infinitic.backends import Backend
from infinitic.backends.urls import open_backend
from infinitic.client import finding
from infinitic.client.answers import call_status, of_run, refusal, value_of, waits_for
from infinitic.client.awaited import Awaited
from infinitic.client.calls import (
    Given,
    IfExists,
    Request,
    Writer,
    check_call,
    definition_of,
    name_of,
    plain_decoder,
    result_decoder,
)
from infinitic.client.waiting import LOOK_AGAIN, Waits
from infinitic.clock import Clock, system_clock
from infinitic.config import load_config
