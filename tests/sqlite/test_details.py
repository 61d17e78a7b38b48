"""What a task said last is known where it runs again, when its process was killed."""

import os
import signal
import subprocess
import sys

from infinitic.client import Client
from infinitic.events import Heartbeat
from infinitic.worker import Worker
from tests.scenarios.given import until
from tests.worker.brood import copy, copying

SERVING = "from infinitic.worker import Worker; from tests.worker.brood import copying as task; "


def test_a_task_whose_process_was_killed_runs_again_with_the_details_of_its_last_heartbeat(tmp_path):
    url = f"sqlite:///{tmp_path}/town.db"
    program = f"{SERVING} Worker({url!r}, services=[task]).run()"
    with Worker(url, workflows=[copy]), Client(url) as client:
        handle = client.start(copy())
        serving = subprocess.Popen([sys.executable, "-c", program])
        until(lambda: any(isinstance(turn.event, Heartbeat) for turn in handle.history()))
        os.kill(serving.pid, signal.SIGKILL)
        serving.wait()
        with Worker(url, services=[copying]):
            assert handle.result(20) == "attempt 1 from {'page': 7}"
