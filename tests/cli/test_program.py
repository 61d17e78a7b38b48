"""The program as a whole: help, version, completion, the demo, and what importing costs."""

import subprocess
import sys

import pytest

import infinitic as package
from infinitic.cli import program
from infinitic.cli.commands import COMMANDS, DEMO

NAMES = [command.name for command in COMMANDS]


def fresh(*args, **environ):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=True, timeout=60)


def test_the_help_lists_every_command_and_exit_code(bare):
    told = bare("--help")

    assert told.code == 0
    assert [name for name in NAMES if f"\n  {name} " not in told.out] == []
    assert [code for code in (0, 1, 2, 3, 4, 5, 130) if f"\n    {code:<4}" not in told.out] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_a_help_with_an_example(bare, name):
    told = bare(name, "--help")

    assert told.code == 0
    assert f"infinitic {name} " in told.out.partition("Options:")[0].partition("\n")[2]


@pytest.mark.parametrize("name", NAMES)
def test_each_command_says_what_it_does_in_one_short_line(name):
    said = program.commands[name].get_short_help_str(60)

    assert said
    assert not said.endswith("...")


def test_the_version_is_the_installed_one(bare):
    assert bare("--version").out.startswith(f"infinitic {package.__version__} (Python 3.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_code_for_the_shell(bare, shell):
    told = bare("completion", shell)

    assert told.code == 0
    assert "_INFINITIC_COMPLETE" in told.out


def test_ids_are_completed_from_the_storage(infinitic, worker):
    worker("trips")
    infinitic("start", "payment", "card=visa", "--id", "pay-1", "--wait")
    words = {"COMP_WORDS": "infinitic show pa", "COMP_CWORD": "2", "_INFINITIC_COMPLETE": "bash_complete"}

    assert infinitic(**words).out == "plain,pay-1\n"


def test_completion_says_nothing_where_there_is_no_storage(bare):
    words = {"COMP_WORDS": "infinitic show pa", "COMP_CWORD": "2", "_INFINITIC_COMPLETE": "bash_complete"}
    told = bare(**words)

    assert (told.out.strip(), told.err) == ("", "")


def test_a_release_without_the_demo_has_no_such_command(bare, monkeypatch):
    monkeypatch.setattr("infinitic.cli.commands.find_spec", lambda name: None)

    assert "demo" not in bare("--help").out
    assert bare("demo").line == "No such command 'demo'. See infinitic --help."
    assert DEMO == "infinitic.cli.demo"


def test_python_m_infinitic_is_the_same_command():
    assert fresh("-m", "infinitic", "--version").stdout.startswith("infinitic ")


# --- the package ---


def test_everything_that_is_promised_can_be_imported():
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert set(package.__all__) <= set(dir(package))
    assert len(package.__all__) == len(set(package.__all__))


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'infinitic' has no attribute 'Wroker'"):
        getattr(package, "Wroker")  # noqa: B009  # as an import does it


def test_importing_the_package_loads_the_language_and_no_runtime():
    loaded = fresh("-c", "import infinitic, sys; print(*sorted(sys.modules))").stdout.split()
    heavy = ("asyncio", "click", "rich", "sqlite3", "infinitic.client", "infinitic.worker", "infinitic.backends")

    assert "dsl" in loaded
    assert [name for name in heavy if name in loaded] == []


def test_no_driver_is_imported_before_its_backend_is_opened():
    code = "import infinitic, sys; infinitic.Client, infinitic.Worker, infinitic.PickleCodec; print(*sys.modules)"
    loaded = fresh("-c", code).stdout.split()
    drivers = ("sqlite3", "redis", "hiredis", "mysql", "psycopg", "pulsar", "cloudpickle", "pydantic")

    assert [name for name in drivers if name in loaded] == []
