"""PostgreSQL, as Debian has it. It refuses to run as root: then it runs as the user that came with it."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.servers import Server, soon
from tests.servers.processes import program, spoken_version


def tool(name: str) -> str:
    """One of PostgreSQL's programs, "" where it is not. Debian keeps them apart by version."""
    versions = Path("/usr/lib/postgresql").glob("[0-9]*")
    return program(name, *(version / "bin" for version in sorted(versions, key=lambda one: -float(one.name))))


class Postgres(Server):
    name = "postgres"
    packages = ("postgresql",)
    ready = b"ready to accept connections"
    stop_signal = signal.SIGINT  # does not wait for its clients to leave
    user = "postgres" if os.geteuid() == 0 else None

    @classmethod
    def missing(cls) -> str:
        return "" if tool("initdb") else "postgresql is not installed"

    @classmethod
    def version(cls) -> str:
        return spoken_version(tool("postgres"))

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        self.run(
            *(tool("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        )

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "dynamic_shared_memory_type": "mmap",  # in the data folder: gone with it
            "fsync": "on" if self.durable else "off",
        }
        words = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        return [tool("postgres"), "-D", str(self.data), *words]

    def kill(self) -> None:
        """Its processes too: as long as one of them has its memory, it does not start again."""
        children = self._children()
        super().kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        soon(lambda: not any(map(has_memory, children)))

    def _children(self) -> list[int]:
        pid = self.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def has_memory(pid: int) -> bool:
    """Whether a process is there, and not as a mere entry that nobody has read yet."""
    try:
        return bool(Path(f"/proc/{pid}/maps").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False
