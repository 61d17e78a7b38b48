"""The proof that the rules are tested: without any one guard, a test that is named beside it fails."""

import ast
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.rules.mutant import Mutant
from tests.rules.mutants import MUTANTS

HOUSE = Path(__file__).parents[2]
FAILED = 1
"""What pytest exits with when tests failed; a module that cannot even be imported is another number."""


def test_each_guard_is_where_the_table_says():
    texts = {one.file: (HOUSE / one.file).read_text(encoding="utf-8") for one in MUTANTS}

    assert [f"{one.rule}: {one.file}" for one in MUTANTS if texts[one.file].count(one.old) != 1] == []
    assert [one.rule for one in MUTANTS if one.old == one.new] == []


def test_each_rule_is_there_once():
    assert [rule for rule, count in Counter(one.rule for one in MUTANTS).items() if count > 1] == []


def test_the_tests_that_are_to_notice_are_there():
    named = sorted({test for one in MUTANTS for test in one.tests})
    there: dict[str, set[str]] = {}
    for file in {test.partition("::")[0] for test in named}:
        tree = ast.parse((HOUSE / file).read_text(encoding="utf-8"))
        there[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    assert [one.rule for one in MUTANTS if not one.tests] == []
    assert [test for test in named if test.partition("::")[2] not in there[test.partition("::")[0]]] == []


@pytest.fixture(scope="session")
def copy(tmp_path_factory):
    """The house, in a place where it may be spoilt."""
    place = tmp_path_factory.mktemp("mutants")
    for name in ("dsl", "infinitic", "tests"):
        shutil.copytree(HOUSE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", place)
    return place


def run(place: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run these tests there; what was compiled before a file was changed must not be taken for it.

    A time limit ends the process: an exception would be one more that a worker survives.
    """
    limit = ("--timeout=30", "--timeout-method=thread")
    command = [sys.executable, "-m", "pytest", "-q", "-x", *limit, "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_with_all_guards_in_place_the_named_tests_pass(copy):
    ran = run(copy, *sorted({test for one in MUTANTS for test in one.tests}))

    assert ran.returncode == 0, ran.stdout


@pytest.mark.proof
@pytest.mark.parametrize("mutant", MUTANTS, ids=[one.rule for one in MUTANTS])
def test_without_its_guard_a_rule_is_broken_and_a_test_says_so(copy, mutant: Mutant):
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        ran = run(copy, *mutant.tests)
    finally:
        file.write_text(text, encoding="utf-8")

    assert ran.returncode == FAILED, ran.stdout
