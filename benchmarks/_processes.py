"""Worker processes: `infinitic worker` over the workflows of a benchmark's own file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

AT_WORK = "is at work"


@contextmanager
def working(file: str, url: str, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """A worker process that serves *file*, at work while the block lasts; *settings* go into its environment."""
    with running([sys.executable, "-m", "infinitic", "worker", file, "--url", url], **settings) as process:
        yield process


@contextmanager
def running(command: list[str], **settings: object) -> Iterator[subprocess.Popen[str]]:
    """A process that says when it is at work, on its standard error; it is killed at the end of the block."""
    environment = {**os.environ, **{f"INFINITIC_{name.upper()}": str(value) for name, value in settings.items()}}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        try:
            _await(process.stderr)
            # what it says goes on to ours: a full pipe would stop it
            passing_on = Thread(target=shutil.copyfileobj, args=(process.stderr, sys.stderr), daemon=True)
            passing_on.start()
            try:
                yield process
            finally:
                process.kill()
                passing_on.join(5)  # its children may live on for a moment, with its standard error
        finally:
            process.kill()


def _await(said: IO[str]) -> None:
    lines = []
    for line in said:
        lines.append(line)
        if AT_WORK in line:
            return
    raise RuntimeError("the worker ended before it was at work:\n" + "".join(lines))


def url_in(folder: str) -> str:
    """A fresh embedded database."""
    return f"sqlite:///{Path(folder, 'benchmark.db')}"
