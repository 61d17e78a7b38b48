"""Errors, read aloud: one line on stderr, a hint, an exit code, and no traceback unless it is asked for."""

import signal
import subprocess
import sys

import pytest

from infinitic.cli import looking

STATUSES = "'running', 'suspended', 'completed', 'failed', 'cancelled', 'terminated', 'continued'"
NAMES = "letters, digits, '_', '.' and '-', beginning with a letter or '_'"

WRONG = [
    (["list", "--status", "runing"], f"Invalid value for '--status': 'runing' is not one of {STATUSES}."),
    (
        ["list", "--since", "yesterday"],
        "Invalid value for '--since': 'yesterday' is no instant: write 2h, 7d, 2026-07-01 or 2026-07-01T12:00.",
    ),
    (
        ["result", "pay-1", "--timeout", "3x"],
        "Invalid value for '--timeout': '3x' is no length of time: write 30, 500ms, 30s, 5m, 2h or 7d.",
    ),
    (
        ["start", "trip", "--args", '{"city": "Os'],
        "Invalid value for --args: malformed JSON: Unterminated string starting at: line 1 column 10 (char 9).",
    ),
    (
        ["start", "trip", "--args", '["Oslo"]'],
        """Invalid value for --args: arguments go by name, as in '{"city": "Oslo"}', and this is a list.""",
    ),
    (
        ["start", "trip", "--args", "@nowhere.json"],
        "Invalid value for --args: nowhere.json cannot be read: [Errno 2] No such file or directory: 'nowhere.json'.",
    ),
    (["start", "trip", "--meta", "Ada"], "Invalid value for --meta: 'Ada' is no KEY=VALUE, as in city=Oslo."),
    (["start", "trip", "Oslo"], "Invalid value for arguments: 'Oslo' is no KEY=VALUE, as in city=Oslo."),
    (["start", "trip", "city=Oslo", "city=Rome"], "Invalid value for arguments: city is given twice."),
    (
        ["start", "my trip"],
        f"Invalid value for WORKFLOW: 'my trip' cannot name a workflow: expected {NAMES}.",
    ),
    (
        ["start", "trip", "--timeout", "5"],
        "--timeout says how long to --wait, or for --if-exists; it is of no use alone.",
    ),
    (["show"], "Missing argument 'ID'."),
]


@pytest.mark.parametrize(("args", "problem"), WRONG)
def test_wrong_use_is_told_in_one_line_with_exit_code_2(infinitic, args, problem):
    told = infinitic(*args)

    assert (told.code, told.out) == (2, "")
    assert told.line == f"{problem} See infinitic {args[0]} --help."


def test_an_unknown_command_suggests_the_nearest(infinitic):
    told = infinitic("lst")

    assert (told.code, told.line) == (2, "No such command 'lst'. Did you mean 'list'? See infinitic --help.")


def test_an_id_that_cannot_be_one_says_what_can(infinitic):
    told = infinitic("start", "trip", "--id", " ")

    assert told.code == 2
    assert told.line.startswith("' ' cannot be id=: expected ")


def test_an_argument_that_nobody_knows_is_refused_with_what_is_known(infinitic, worker):
    worker("trips")
    started = infinitic("start", "trip", "city=Oslo", "crd=visa", "--id", "t", "--wait")
    infinitic("start", "Loyalty.run", "weeks=1", "--id", "ada")
    called = infinitic("call", "ada", "redeem", "points=0", "more=2")

    trip, redeem = "trip(city: str, card: str = 'visa')", "Loyalty.redeem(points: int)"
    assert (started.code, called.code) == (2, 2)
    assert started.err.splitlines()[-1] == f"error: {trip}: it takes no argument `crd`"
    assert called.line == f"{redeem}: it takes no argument `more`"
    assert [one["id"] for one in infinitic("list", "--json").data] == ["ada"]


def test_an_unknown_id_suggests_those_that_look_like_it(infinitic, worker):
    worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "pay-17", "--wait")

    for args in (
        ["show", "pay-71"],
        ["result", "pay-71"],
        ["cancel", "pay-71"],
        ["signal", "pay-71", "a", "b"],
    ):
        told = infinitic(*args)
        assert told.code == 5
        assert told.line.endswith("instance with the id 'pay-71'. Did you mean pay-17?")


def test_an_unknown_id_that_looks_like_none_may_be_on_its_way(infinitic):
    told = infinitic("show", "elsewhere")

    assert told.code == 5
    assert told.line == (
        "there is no workflow instance with the id 'elsewhere'. "
        "One that was started just now is there once a worker has taken it up."
    )


def test_waiting_in_vain_says_what_is_waited_for(infinitic):
    told = infinitic("start", "trip", "city=Oslo", "--id", "trip-1", "--wait", "--timeout", "10ms")

    assert told.code == 4
    assert told.line == ("trip 'trip-1' has not ended within 0.01 s, and goes on; no worker serves trip just now")


# --- for the operator ---


@pytest.mark.parametrize("command", [["list"], ["show", "x"], ["result", "x"], ["worker", "trips"]])
def test_a_transport_that_is_unknown_is_named(bare, command):
    told = bare(*command, "--url", "sqlit:///x.db")

    assert (told.code, told.line) == (
        3,
        "sqlit:///x.db names no transport that is known. Did you mean sqlite://?",
    )


def test_without_a_storage_there_is_nothing_to_list(bare):
    for command in (["list"], ["show", "x"]):
        told = bare(*command, "--transport", "pulsar://host")
        assert told.code == 3
        assert told.line == (
            f"infinitic {command[0]} reads the storage, and none is configured. "
            "Give --storage URL, or INFINITIC_STORAGE."
        )


def test_a_setting_that_there_is_not_suggests_the_nearest(bare, folder):
    (folder / "infinitic.toml").write_text("storrage = 'sqlite:///x.db'\n")
    told = bare("list")

    assert (told.code, told.line) == (3, "storrage (infinitic.toml) is no setting. Did you mean storage?")


def test_looking_at_a_database_that_is_not_there_does_not_make_it(infinitic, folder):
    told = infinitic("list", "--url", "sqlite:///nope.db")

    assert told.code == 3
    assert told.line == ("There is no database nope.db. Start a worker or a workflow first, or name another by --url.")
    assert not (folder / "nope.db").exists()


def test_a_module_that_is_not_there_suggests_the_nearest(infinitic):
    assert infinitic("worker", "trps").line == "There is no module trps. Did you mean trips?"
    assert infinitic("worker", "trps.py").line == "There is no file trps.py. Did you mean trips?"


def test_a_file_that_is_named_like_a_part_of_python_is_refused(infinitic, folder):
    (folder / "time.py").write_text("")

    assert infinitic("worker", "time.py").line == (
        "time.py would be imported as time, which is a part of Python itself already. "
        "Rename one, or put them into packages."
    )


def test_a_module_that_looks_like_none_lists_what_there_is(infinitic, folder):
    told = infinitic("worker", "nowhere")

    assert told.code == 3
    assert told.line == (
        f"There is no module nowhere. Modules are looked for in the working directory {folder}. There is trips."
    )


def test_a_module_without_workflows_says_what_to_write(infinitic, folder):
    (folder / "empty.py").write_text("x = 1\n")

    assert infinitic("worker", "empty").line == (
        "empty: no workflow and no service to serve. "
        "Decorate functions with @workflow or @task, or write classes of Workflow or Service."
    )


def test_a_module_with_contracts_only_asks_for_an_implementation(infinitic, folder):
    (folder / "contracts.py").write_text("from trips import Cars\n")

    assert infinitic("worker", "contracts").line == (
        "contracts: no workflow and no service to serve. Implement Cars in a subclass."
    )


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "import nothing_of_this_name\n",
            "broken.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'.",
        ),
        ("\n1 / 0\n", "broken.py:2: ZeroDivisionError: division by zero."),
        ("def (\n", "broken.py:1: SyntaxError: "),
        (
            "from infinitic import Retry\nRetry(\n    max_attempts=0)\n",
            "broken.py:2: ValueError: Retry(max_attempts=0): ",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(infinitic, folder, source, problem):
    (folder / "broken.py").write_text(source)
    told = infinitic("worker", "broken")

    assert told.code == 3
    assert told.line.startswith(f"broken cannot be imported: {folder}/{problem}")
    assert told.line.endswith("--debug shows the traceback.")


def test_the_traceback_is_there_when_it_is_asked_for(infinitic, folder):
    (folder / "broken.py").write_text("1 / 0\n")

    for told in (infinitic("--debug", "worker", "broken"), infinitic("worker", "broken", "--debug")):
        assert "Traceback (most recent call last)" in told.err
        assert "ZeroDivisionError" in told.err


@pytest.mark.parametrize("command", ["show", "why", "result", "export", "delete", "cancel", "suspend", "terminate"])
@pytest.mark.parametrize("workflow_id", ["", "  ", "a" * 256])
def test_an_id_that_cannot_be_one_is_refused_everywhere(infinitic, command, workflow_id):
    refused = infinitic(command, workflow_id)

    assert (refused.code, "cannot be a workflow id: expected" in refused.line) == (2, True)


def test_a_bug_says_that_it_is_one(infinitic, monkeypatch):
    monkeypatch.setattr(looking, "read_story", lambda *_: 1 / 0)
    told = infinitic("show", "x")

    assert told.code == 70
    assert told.line == (
        "ZeroDivisionError: division by zero. "
        "This is a bug in Infinitic for Python: please report it with what --debug shows."
    )


def test_an_interrupted_command_says_nothing_and_exits_with_130(infinitic, url, worker):
    worker("trips")
    command = [sys.executable, "-m", "infinitic", "start", "Loyalty.run", "weeks=1", "--id", "ada", "--wait"]
    with subprocess.Popen([*command, "--url", url], stderr=subprocess.PIPE) as waiting:
        while infinitic("call", "ada", "redeem", "points=1").code:
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        _, said = waiting.communicate(timeout=60)

    assert (waiting.returncode, said.strip()) == (130, b"")
