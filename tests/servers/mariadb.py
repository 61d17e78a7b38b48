"""MariaDB, as Debian has it."""

import os

from tests.servers import Server
from tests.servers.processes import program, spoken_version

AS_ROOT = ["--user=root"] if os.geteuid() == 0 else []


class Mariadb(Server):
    name = "mariadb"
    packages = ("mariadb-server",)

    @classmethod
    def missing(cls) -> str:
        return "" if program("mariadbd") and program("mariadb-install-db") else "mariadb-server is not installed"

    @classmethod
    def version(cls) -> str:
        return spoken_version(program("mariadbd"))

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self.run(
            *(program("mariadb-install-db"), "--no-defaults", *AS_ROOT, f"--datadir={self.data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )

    def command(self) -> list[str]:
        return [
            *(program("mariadbd"), "--no-defaults", *AS_ROOT, f"--datadir={self.data}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", "--socket=socket", "--pid-file=pid"),
            *("--skip-networking=0", "--skip-name-resolve", "--innodb-buffer-pool-size=64M"),
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 2}",
        ]
