"""What mypy and pyright say of the files beside this one: nothing, and that is the proof.

They hold `assert_type` on every answer, and mistakes on lines that silence both checkers by code. A silence
that is not needed is itself an error (`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`), so a
mistake that is no longer flagged is found. A seeded file shows that each guard fires. One process a checker.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
GOLDEN = sorted(path for path in Path(__file__).parent.glob("*.py") if path.name != Path(__file__).name)

SEEDED = """# pyright: strict
from typing import assert_type
from dsl import Flow, task

@task
def charge(card: str) -> bytes:
    return b""

def flow() -> Flow[None]:
    assert_type((yield from charge("4242")), str)  # seeded: the wrong type
    charge(5)  # seeded: a mistake that nobody silenced
    charge("4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # seeded: no mistake
"""


def lines_with(mark: str, text: str) -> set[int]:
    return {number for number, line in enumerate(text.splitlines(), 1) if mark in line}


def run(command: list[str]) -> str:
    answer = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, 1):  # both give 1 when they found something
        missing = f"{' '.join(command[:3])} does not run here: {answer.stderr.strip() or answer.stdout.strip()}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return answer.stdout


def judged(found: list[tuple[Path, int, str]], seeded: Path) -> tuple[list[str], set[int]]:
    """What is wrong with the golden files, and which lines of the seeded one were flagged."""
    golden = [f"{path.name}:{line}: {text}" for path, line, text in found if path.name != seeded.name]
    return golden, {line for path, line, _ in found if path.name == seeded.name}


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    path = tmp_path / "seeded.py"
    path.write_text(SEEDED, encoding="utf-8")
    return path


def test_mypy_judges_the_typed_surface_as_promised(seeded: Path) -> None:
    out = run([sys.executable, "-m", "mypy", "--output=json", *map(str, GOLDEN), str(seeded)])
    entries = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    found = [(Path(one["file"]), one["line"], one["message"]) for one in entries if one["severity"] == "error"]

    assert judged(found, seeded) == ([], lines_with("seeded:", SEEDED))


def test_pyright_judges_the_typed_surface_as_promised(seeded: Path) -> None:
    out = run([sys.executable, "-m", "pyright", "--outputjson", *map(str, GOLDEN), str(seeded)])
    entries = json.loads(out)["generalDiagnostics"]
    found = [
        (Path(one["file"]), one["range"]["start"]["line"] + 1, one["message"])
        for one in entries
        if one["severity"] == "error"
    ]

    assert judged(found, seeded) == ([], lines_with("seeded:", SEEDED))


def test_every_mistake_must_be_flagged_by_both_checkers() -> None:
    one_sided = [
        f"{path.name}:{number}"
        for path in GOLDEN
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ("type: ignore[" in line) != bool(re.search(r"pyright: ignore\[", line))
    ]

    assert one_sided == []
