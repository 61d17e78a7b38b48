"""The servers of one run: started together in one folder, named to a command by its environment, ended together."""

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Self

import click

from infinitic.config import shown
from tests.servers import Server
from tests.servers.found import DISPENSABLE, REASONS, VARIABLES
from tests.servers.installing import install
from tests.servers.processes import ServerTrouble, left_behind, new_folder, spared

PARTING = 10.0
"""Seconds that a command may take to end once it was asked to."""


class Fleet:
    """Made for one `with`: at its end no server runs, and the folder is gone."""

    def __init__(self) -> None:
        self.folder = new_folder("servers-")
        self.servers: list[Server] = []
        self.missing: dict[str, str] = {}  # name → why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            # What is still starting is the reaper's, and its folder too.
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for server in self.servers:
                stack.callback(server.close)

    def start(self, kinds: Iterable[type[Server]], *, durable: bool) -> None:
        """Returns when each of *kinds* answers, or is among the `missing`; those the environment names are left out."""
        began = time.monotonic()
        wanted = [kind for kind in kinds if not given(kind)]
        hint = packages_for(wanted)
        tasks = [threading.Thread(target=self._bring, args=(kind, durable, hint), daemon=True) for kind in wanted]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
        say(f"ready after {time.monotonic() - began:.1f} s; all that is kept and logged is in {self.folder}")

    def _bring(self, kind: type[Server], durable: bool, hint: str) -> None:
        began = time.monotonic()
        try:
            if kind.missing():
                kind.fetch()
            server = self._started(kind, durable)
        except (ServerTrouble, OSError) as trouble:
            why = f"{trouble}. {hint}" if kind.lacks() else str(trouble)
            self.missing[kind.name] = why
            say(f"NO {kind.name.upper()}: {why}\n   Its tests are skipped.", loud=True)
        else:
            self.servers.append(server)
            say(f"{kind.name:<9} {kind.version():<9} {time.monotonic() - began:4.1f} s  {server.url}")

    def _started(self, kind: type[Server], durable: bool) -> Server:
        """A server that answers. One that does not start has a second try, in a new folder: a run is long to lose."""
        server = kind(self.folder, durable=durable)
        try:
            return server.start()
        except ServerTrouble as trouble:
            say(f"{kind.name} did not start, and is tried once more: {trouble}", loud=True)
            server.close()
        return kind(self.folder, durable=durable).start()

    def environ(self) -> dict[str, str]:
        """What the tests read."""
        urls = {VARIABLES[server.name]: server.url for server in self.servers}
        return urls | {REASONS[name]: " ".join(why.split()) for name, why in self.missing.items()}

    def attend(self, command: Sequence[str]) -> int:
        """Runs *command*, or waits for Ctrl-C when there is none; the status to end with."""
        lost = sorted(set(self.missing) - DISPENSABLE)
        if lost and os.environ.get("CI"):
            say(f"CI goes without no server but {', '.join(DISPENSABLE)}: missing are {', '.join(lost)}", loud=True)
            return 1
        if command:
            return run(command, self.environ())
        for name, text in self.environ().items():
            click.echo(f"export {name}={shlex.quote(text)}")
        say("Ctrl-C stops them.")
        return wait_for_interrupt()


def given(kind: type[Server]) -> bool:
    """Whether the environment names such a server: then it is used as it is."""
    url = os.environ.get(VARIABLES[kind.name], "")
    if url:
        say(f"{kind.name:<9} as {VARIABLES[kind.name]} says: {shown(url)}")
    return bool(url)


def packages_for(kinds: Iterable[type[Server]]) -> str:
    """Installs what *kinds* lack, where that may be; what would help where it may not."""
    packages = [package for kind in kinds for package in kind.lacks()]
    if not packages:
        return ""
    say(f"missing on this machine: {', '.join(packages)}")
    try:
        install(packages)
    except ServerTrouble as trouble:
        return str(trouble)
    return ""


def run(command: Sequence[str], environ: dict[str, str]) -> int:
    """The status of *command*, as a shell gives it. Who leaves it before its end, ends it."""
    try:
        process = subprocess.Popen(command, env=os.environ | environ)
    except OSError as trouble:
        say(f"{command[0]}: {trouble.strerror}", loud=True)
        return 127
    left_behind(f"kill {process.pid}")
    try:
        code = process.wait()
    except KeyboardInterrupt:  # a terminal has told the command as well
        code = parted(process)
    except SystemExit:
        process.terminate()
        parted(process)
        raise
    finally:
        spared(process.pid)
    return code if code >= 0 else 128 - code


def parted(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(PARTING)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for_interrupt() -> int:
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return 0


def say(text: str, *, loud: bool = False) -> None:
    click.secho(text, err=True, fg="red" if loud else None, bold=loud)
