"""The house keeps its law: sizes, silenced checks, leaked paths, docstrings, purity of the language."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
PRODUCT = sorted(path for package in ("dsl", "infinitic") for path in (HOUSE / package).rglob("*.py"))
LEAK = re.compile(r"(?<![\w.])/(?:work|root|(?:home|Users)/[\w.-]+)/[\w.]")
BARE_SILENCE = re.compile(r"#\s*(?:type:\s*ignore(?!\[)|pyright:\s*(?:basic|ignore(?!\[))|noqa(?!:))")
ROOMS = {"dsl": 2_000, "infinitic/engine": 2_900, "infinitic/transports/pulsar": 800}


def code_lines(lines: list[str]) -> int:
    """Lines that are neither blank nor a comment; docstrings count."""
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def long_functions(text: str) -> list[str]:
    lines = text.splitlines()
    sizes = {
        f"{node.name}, line {node.lineno}": code_lines(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return [f"{name}: {size} code lines" for name, size in sizes.items() if size > 40]


def long_file(text: str) -> list[str]:
    size = len(text.splitlines())
    return [f"{size} lines"] if size > 400 else []


def bare_silences(text: str) -> list[str]:
    return [
        f"line {token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and BARE_SILENCE.search(token.string)
    ]


def leaked_paths(text: str) -> list[str]:
    return [f"line {number}" for number, line in enumerate(text.splitlines(), 1) if LEAK.search(line)]


def missing_docstring(text: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(text)) else ["no docstring"]


def impure_imports(text: str) -> list[str]:
    """Packages that the language may not stand on. The standard library's own I/O is import-linter's."""
    names = set[str]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return sorted(names - sys.stdlib_module_names - {"attr", "attrs", "dsl", "msgspec"})


def kept_files(*patterns: str) -> list[Path]:
    """What git keeps or would keep; outside of a clone, every file."""
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    answer = subprocess.run(asked, cwd=HOUSE, capture_output=True, text=True, check=False)
    if answer.returncode:
        return [path for pattern in patterns for path in HOUSE.rglob(pattern) if ".venv" not in path.parts]
    return [HOUSE / name for name in answer.stdout.split("\0") if name and (HOUSE / name).is_file()]


def found(guard, paths):
    return {
        str(path.relative_to(HOUSE)): findings
        for path in paths
        if (findings := guard(path.read_text(encoding="utf-8", errors="replace")))
    }


def test_no_function_is_over_40_code_lines():
    assert found(long_functions, PRODUCT) == {}


def test_no_file_is_over_400_lines():
    assert found(long_file, PRODUCT) == {}


@pytest.mark.parametrize(("room", "most"), ROOMS.items())
def test_a_room_keeps_its_size(room, most):
    texts = [path.read_text(encoding="utf-8") for path in (HOUSE / room).rglob("*.py")]

    assert sum(code_lines(text.splitlines()) for text in texts) <= most


def test_a_storage_is_at_most_350_lines():
    storages = (HOUSE / "infinitic" / "storages").glob("*.py")
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in storages}

    assert {name: size for name, size in sizes.items() if size > 350} == {}


def test_no_check_is_silenced_without_a_code():
    assert found(bare_silences, kept_files("*.py")) == {}


def test_no_file_names_a_path_of_one_machine():
    assert found(leaked_paths, kept_files("*")) == {}


def test_every_module_says_what_lives_in_it():
    assert found(missing_docstring, PRODUCT) == {}


def test_the_language_stands_on_attrs_and_msgspec_alone():
    assert found(impure_imports, [path for path in PRODUCT if path.is_relative_to(HOUSE / "dsl")]) == {}


@pytest.mark.parametrize(
    ("guard", "violation"),
    [
        (long_functions, "def long():\n" + "    pass\n" * 40),
        (long_functions, "async def long():\n" + "    pass\n" * 40),
        (long_file, "\n" * 401),
        (bare_silences, "x = 1  # type: ignore\n"),
        (bare_silences, "x = 1  # noqa\n"),
        (bare_silences, "x = 1  # pyright: ignore\n"),
        (leaked_paths, "see " + "/" + "work/main/x"),
        (leaked_paths, "see " + "/" + "root/x"),
        (leaked_paths, "see " + "/" + "home/ann/x"),
        (missing_docstring, "x = 1\n"),
        (impure_imports, "import redis.client\n"),
        (impure_imports, "from infinitic import ids\n"),
    ],
)
def test_a_guard_fires_on_its_violation(guard, violation):
    assert guard(violation) != []


@pytest.mark.parametrize(
    ("guard", "lawful"),
    [
        (long_functions, "def short():\n" + "    pass\n\n    # a reason\n" * 39),
        (long_file, "\n" * 400),
        (bare_silences, "x = '# noqa'  # type: ignore[misc]  # noqa: E501  # pyright: ignore[reportAny]\n"),
        (leaked_paths, "https://example.com/work/x, ./work/x, /home/"),
        (missing_docstring, '"""What lives here."""\n'),
        (impure_imports, "import attrs, uuid\nfrom dsl.errors import WorkflowError\n"),
    ],
)
def test_a_guard_is_silent_on_what_is_lawful(guard, lawful):
    assert guard(lawful) == []
