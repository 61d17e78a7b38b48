"""`infinitic worker`: what it finds in modules and says of it, and how it stops."""

import os
import signal
import sys

import pytest

from dsl import Channel, Service, Workflow, method, task, workflow
from infinitic.cli.modules import Found, definitions, imported, load
from infinitic.cli.serving import worker as command
from infinitic.client import Client
from infinitic.events import TaskCompleted
from tests.cli import trips as module
from tests.cli.conftest import READY

BLOCKING = """
from infinitic import task, workflow

@task(timeout=60)
def wait() -> str:
    with open("begun", "w") as begun:
        begun.write("now")
    with open("over") as over:
        return over.read()

@workflow
def waiting():
    return (yield from wait())
"""


def test_a_worker_says_what_it_serves_and_what_it_skips(url, worker):
    lines = worker("trips", "--name", "anna", "--concurrency", "2").said

    assert lines[0].startswith("infinitic 0.1.0 on sqlite:////")
    assert lines[1:] == [
        "  workflows Loyalty (redeem, run), backup, branches, careless, hasty, many, monthly, parent, patient_backup, "
        "payment, trip",
        "  services  Hotels (book), charge, copy",
        "  skipped   Cars: a contract that nothing here implements",
        "worker anna is at work; Ctrl-C lets running tasks finish, and stops it",
    ]


def test_a_worker_serves_files_and_several_modules(infinitic, url, folder, worker):
    (folder / "more").mkdir()
    (folder / "more" / "shared.py").write_text("NAME = 'Oslo'\n")
    source = "from infinitic import workflow\nfrom shared import NAME\n\n@workflow\ndef city():\n    return NAME\n"
    (folder / "more" / "cities.py").write_text(source)
    worker("trips.py", "more/cities.py")

    assert infinitic("start", "city", "--wait").out == "Oslo\n"
    assert infinitic("start", "payment", "card=visa", "--wait").out == "receipt for 500\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_tasks_finish(infinitic, folder, worker, number):
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking")
    infinitic("start", "waiting", "--id", "w-1")
    (folder / "begun").read_text()
    serving.process.send_signal(number)
    stopping = serving.process.stderr.readline()
    (folder / "over").write_text("done")
    _, rest = serving.process.communicate(timeout=60)

    assert "stopping: waiting for the tasks that run" in stopping
    assert serving.process.returncode == 0
    assert rest.splitlines()[-1].endswith("has stopped")
    assert infinitic("result", "w-1", "--timeout", "0").out == "done\n"


def test_a_second_signal_ends_it_at_once(infinitic, folder, worker):
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking")
    infinitic("start", "waiting", "--id", "w-1")
    (folder / "begun").read_text()
    serving.process.send_signal(signal.SIGTERM)
    assert "stopping" in serving.process.stderr.readline()

    assert serving.stop() == 130


def test_logs_are_one_line_each_and_more_when_asked_for(infinitic, folder, worker):
    source = "from infinitic import logger, workflow\n\n@workflow\ndef talk():\n    logger.info('%s', 'hello')\n"
    (folder / "talking.py").write_text(source)
    talking = worker("talking", "-v")
    infinitic("start", "talk", "--id", "t-1", "--wait")
    talking.stop()

    assert READY in talking.said[2]
    assert [line.partition(" ")[2] for line in talking.said if "hello" in line] == ["talk t-1: hello"]


# --- processes ---

FATAL = """
import os
from infinitic import task, workflow

@task
def fatal() -> int:
    os._exit(7)

@workflow
def doomed():
    return (yield from fatal())
"""


def begun(folder):
    """The process in which a task has begun."""
    return int((folder / "begun").read_text())


def test_a_process_that_is_killed_is_replaced_and_its_task_runs_again(infinitic, folder, worker, url):
    (folder / "blocking.py").write_text(BLOCKING.replace('"now"', "str(os.getpid())").replace("\n", "import os\n", 1))
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking", "--processes", "2", "--name", "anna")
    infinitic("start", "waiting", "--id", "w-1")
    pid = begun(folder)
    os.kill(pid, signal.SIGKILL)
    died = serving.process.stderr.readline()
    assert begun(folder) != pid
    (folder / "over").write_text("done")

    assert serving.said[-1] == ("worker anna is at work; 2 processes; Ctrl-C lets running tasks finish, and stops it")
    assert f"(pid {pid}) was killed by SIGKILL; another is started" in died
    assert infinitic("result", "w-1").out == "done\n"
    with Client(url) as client:
        events = [turn.event for turn in client.get("w-1").history()]
    assert {one.worker for one in events if isinstance(one, TaskCompleted)} <= {"anna:1", "anna:2"}
    assert serving.stop() == 0
    assert [line.partition(" ")[2] for line in serving.said[-2:]] == [
        "stopping: waiting for the tasks that run; once more to stop at once",
        "anna has stopped",
    ]


def test_a_task_that_kills_every_process_fails(infinitic, folder, worker):
    (folder / "fatal.py").write_text(FATAL)
    worker("fatal", "--processes", "1")

    ended = infinitic("start", "doomed", "--wait")
    assert (ended.code, "fatal" in ended.err) == (1, True)


def test_a_terminals_interrupt_lets_the_tasks_of_all_processes_finish(infinitic, folder, worker):
    (folder / "blocking.py").write_text(BLOCKING)
    os.mkfifo(folder / "begun")
    os.mkfifo(folder / "over")
    serving = worker("blocking", "--processes", "2", own_group=True)
    infinitic("start", "waiting", "--id", "w-1")
    (folder / "begun").read_text()
    os.killpg(serving.process.pid, signal.SIGINT)
    assert "stopping" in serving.process.stderr.readline()
    (folder / "over").write_text("done")
    serving.process.communicate(timeout=60)

    assert serving.process.returncode == 0
    assert infinitic("result", "w-1", "--timeout", "0").out == "done\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise ValueError('no')", "error: broken cannot be imported: {folder}/broken.py:3: ValueError: no. --debug"),
        (
            "if '--place' in sys.argv: raise ValueError('no')",
            "error: broken cannot be imported: {folder}/broken.py:3: ",
        ),
        ("if '--place' in sys.argv: os._exit(9)", "error: Process 1 of 1 ended with code 9 before it was at work. "),
    ],
    ids=["everywhere", "in the children", "and ends them"],
)
def test_code_that_cannot_be_imported_is_told_once_and_ends_all(folder, worker, line, said):
    (folder / "broken.py").write_text(f"import os, sys\nfrom trips import *\n{line}\n")
    processes = "1" if "_exit" in line else "3"
    ended = worker("broken", "--processes", processes)

    assert ended.process.wait(60) == 3
    [only] = ended.said
    assert only.startswith(said.format(folder=folder))


def test_what_is_in_one_process_only_has_no_processes(bare):
    ended = bare("worker", "trips", "--processes", "2", "--url", "memory://here")

    assert (ended.code, ended.line) == (
        3,
        "memory://here is in one process only, and --processes asks for 2 more. "
        "Leave --processes away, or use sqlite:/// or a broker.",
    )


# --- modules ---


class Base(Workflow):
    done = Channel(str)


class Taxis(Service):
    @task
    def call(self, city: str) -> str:
        raise NotImplementedError


class RedTaxis(Taxis):
    def __init__(self, fleet: int = 1) -> None:
        self.fleet = fleet

    def call(self, city: str) -> str:
        return f"{self.fleet} red"


class Trips(Base):
    @method
    def run(self) -> int:
        return 1


@workflow
def ride() -> int:
    return 1


@task
def pay(cents: int) -> int:
    return cents


def test_implementations_go_before_contracts():
    assert definitions([Taxis, RedTaxis]) == Found((), (RedTaxis,))
    assert definitions([Taxis]) == Found((), (), ("Taxis",))


def test_an_instance_goes_before_its_class():
    red = RedTaxis(7)

    assert definitions([Taxis, RedTaxis, red]) == Found((), (red,))


def test_workflows_without_methods_and_bases_are_no_definitions():
    assert definitions([Workflow, Service, Base, Trips, ride, pay, "text", 5]) == Found((Trips, ride), (pay,))


def test_what_two_modules_share_is_served_once(folder):
    (folder / "again.py").write_text("from trips import payment, charge\n")
    found, alone = load(["trips", "again"]), load(["trips"])

    assert [one.name for one in found.workflows if hasattr(one, "name")].count("payment") == 1
    assert len(found.services) == len(alone.services)


def test_a_file_in_a_package_is_imported_as_part_of_it(folder):
    (folder / "acme").mkdir()
    (folder / "acme" / "__init__.py").write_text("")
    (folder / "acme" / "names.py").write_text("NAME = 'acme'\n")
    (folder / "acme" / "flows.py").write_text("from acme.names import NAME\n")

    assert imported("acme/flows.py").__name__ == "acme.flows"
    assert imported("acme.flows").NAME == "acme"
    for name in ("acme", "acme.names", "acme.flows"):
        del sys.modules[name]


def test_the_sample_module_holds_what_the_help_says():
    found = definitions(vars(module).values())

    assert found.contracts == ("Cars",)
    assert [one.__name__ for one in found.services] == ["AcmeHotels", "charge", "copy"]
    assert command.name == "worker"


def test_more_processes_than_a_machine_survives_are_a_slip_of_the_finger(bare):
    ended = bare("worker", "trips", "--processes", "100000")

    assert (ended.code, "100000 is not in the range 1<=x<=256" in ended.line) == (2, True)
