"""Folders: what of them is served, what is left out, and what has changed."""

import os

import pytest

from infinitic.cli.folders import Served, changed, served, state

FLOW = "from infinitic import workflow\n\n@workflow\ndef flow() -> None:\n    pass\n"


@pytest.fixture
def empty(folder):
    (folder / "trips.py").unlink()
    return folder


@pytest.fixture
def write(empty):
    def write(name: str, text: str = FLOW) -> str:
        path = empty / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_files_that_import_the_library_or_what_imports_it_are_served(empty, write):
    flows = write("flows.py")
    impl = write("acme/hotels.py", "import flows\n")
    deeper = write("acme/deeper.py", "from .hotels import x\n")
    deepest = write("acme/deepest.py", "from acme import deeper\n")
    write("unrelated.py", "import json\n")

    assert served(empty) == Served((deeper, deepest, impl, flows))


def test_tests_hidden_folders_and_environments_are_left_out(empty, write):
    flows = write("flows.py")
    for name in ("test_flows.py", "conftest.py", ".git/x.py", "env/lib/x.py", "node_modules/x.py", "build/x.py"):
        write(name)
    write("env/pyvenv.cfg", "")

    assert served(empty) == Served((flows,))


def test_a_file_that_is_no_python_is_served_so_that_importing_it_says_why(empty, write):
    assert served(empty) == Served(())
    broken = write("broken.py", "def (\n")

    assert served(empty) == Served((broken,))


@pytest.mark.parametrize(
    "text",
    [
        "from infinitic import Worker\nWorker(workflows=[]).run()\n",
        "import infinitic\nworker = infinitic.Worker(workflows=[])\nwith worker:\n    pass\n",
        "from infinitic import Client\nclient = Client()\nprint(client.count())\n",
        "from infinitic import Client\nif True:\n    with Client() as client:\n        pass\n",
        "from infinitic import Client\ndef main():\n    with Client():\n        pass\nmain()\n",
        "from infinitic import AsyncClient\nasync def run():\n    async with AsyncClient():\n        pass\n"
        "async def main():\n    await run()\nasyncio.run(main())\n",
    ],
)
def test_scripts_that_would_run_something_are_named_and_not_imported(empty, write, text):
    script = write("script.py", text)

    assert served(empty) == Served((), (script,))


@pytest.mark.parametrize(
    "text",
    [
        "from infinitic import Worker\nif __name__ == '__main__':\n    Worker(workflows=[]).run()\n",
        "from infinitic import Worker\ndef main() -> None:\n    Worker(workflows=[]).run()\n",
        "from infinitic import Client\nclient = Client()\n",
    ],
)
def test_what_runs_nothing_when_it_is_imported_is_served(empty, write, text):
    path = write("app.py", text)

    assert served(empty) == Served((path,))


def test_changes_are_new_files_gone_ones_and_others(empty, write):
    same, gone, other = write("same.py"), write("gone.py"), write("other.py")
    before = state([empty])
    os.unlink(gone)
    write("other.py", FLOW + "\n")
    new = write("new.py")
    write("notes.txt", "")

    assert changed(before, state([empty])) == sorted([gone, other, new])
    assert same in before
