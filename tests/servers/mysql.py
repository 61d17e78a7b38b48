"""MySQL itself, which Debian's releases lack: packages of Debian's unstable, unpacked into the cache, not installed.

Programs of that tree start by its own loader and with its own libraries. What is in unstable changes from day to
day: this is the one server that tests may go without.
"""

import os
import platform
import re
import tempfile
from pathlib import Path

from tests.servers import Server
from tests.servers.installing import cache_folder, kept
from tests.servers.processes import ServerTrouble, program, ran, spoken_version

AS_ROOT = ["--user=root"] if os.geteuid() == 0 else []
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Mysql(Server):
    name = "mysql"

    @classmethod
    def missing(cls) -> str:
        return "" if _tree().exists() else "it is not in the cache yet"

    @classmethod
    def fetch(cls) -> None:
        kept(_tree(), _unpack)

    @classmethod
    def version(cls) -> str:
        return spoken_version(*_mysqld())

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}"

    def prepare(self) -> None:
        self.run(*self._mysqld(), "--initialize-insecure", "--innodb-redo-log-capacity=16M")

    def command(self) -> list[str]:
        return [
            *(*self._mysqld(), "--bind-address=127.0.0.1", f"--port={self.port}", "--socket=socket", "--pid-file=pid"),
            *("--mysqlx=OFF", "--secure-file-priv=NULL", "--performance-schema=OFF"),
            *("--innodb-buffer-pool-size=64M", "--innodb-redo-log-capacity=64M"),
            *([] if self.durable else ["--skip-log-bin", "--innodb-flush-log-at-trx-commit=2"]),
        ]

    def _mysqld(self) -> list[str]:
        usr = _tree() / "usr"
        return [
            *(*_mysqld(), "--no-defaults", *AS_ROOT, f"--datadir={self.data}", f"--basedir={usr}"),
            f"--lc-messages-dir={usr}/share/mysql",
            f"--character-sets-dir={usr}/share/mysql/charsets",
            f"--plugin-dir={usr}/lib/mysql/plugin",
        ]


def _tree() -> Path:
    return cache_folder() / f"mysql-{platform.machine()}"


def _mysqld() -> list[str]:
    usr = _tree() / "usr"
    loader = next((usr / "lib64").glob("ld-linux-*"), None) or next((usr / "lib").glob("ld-linux-*"))
    libraries = next((usr / "lib").glob("*-linux-gnu"))
    return [str(loader), "--library-path", f"{libraries}:{usr}/lib/mysql/private", f"{usr}/sbin/mysqld"]


def _unpack(tree: Path) -> None:
    """MySQL's server and all it depends on, under *tree*: a private apt that believes nothing is installed."""
    if not (program("apt-get") and program("dpkg-deb") and Path(KEYS).exists()):
        raise ServerTrouble("it is unpacked from Debian's unstable, and this is no Debian")
    (tree / "usr").mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir()
        (tree / name).symlink_to(f"usr/{name}")
    with tempfile.TemporaryDirectory() as state:
        for package in _downloaded(Path(state)):
            files = ran("dpkg-deb", "--fsys-tarfile", package)
            ran("tar", "--extract", "--keep-directory-symlink", "--directory", tree, given=files)


def _downloaded(state: Path) -> list[Path]:
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    (state / "unstable.list").write_text(f"deb [signed-by={KEYS}] {_mirror()} sid main\n")
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "Dir::Etc::sourcelist": state / "unstable.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Acquire::Check-Valid-Until": "false",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    ran(*apt, "update")
    ran(*apt, "--yes", "--download-only", "install", "mysql-server-core")
    return sorted((state / "archives").glob("*.deb"))


def _mirror() -> str:
    """The mirror of Debian that this machine's apt uses."""
    apt = Path("/etc/apt")
    sources = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    for source in filter(Path.is_file, sources):
        found = re.search(r"^(?:URIs:|deb\s+(?:\[.*?\])?)\s*(\S+/debian/?)(?:\s|$)", source.read_text(), re.MULTILINE)
        if found:
            return found[1]
    raise ServerTrouble("it is unpacked from Debian's unstable, and apt's sources name no mirror of Debian")
