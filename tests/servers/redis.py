"""Redis, as Debian has it: an append-only file, and nothing is ever evicted."""

from tests.servers import Server
from tests.servers.processes import program, spoken_version


class Redis(Server):
    name = "redis"
    packages = ("redis-server",)
    ready = b"ready to accept connections"

    @classmethod
    def missing(cls) -> str:
        return "" if program("redis-server") else "redis-server is not installed"

    @classmethod
    def version(cls) -> str:
        return spoken_version(program("redis-server"))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        self.data.mkdir()

    def command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always" if self.durable else "no",
            "maxmemory-policy": "noeviction",
        }
        return [program("redis-server"), *(word for name, value in settings.items() for word in (f"--{name}", value))]
