"""Apache Pulsar: one broker and one bookie in one JVM. Maven brings the jars (pom.xml), standalone.conf sets it up."""

import base64
import hashlib
import hmac
import json
import os
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.servers import Server
from tests.servers.installing import cache_folder, kept
from tests.servers.processes import ServerTrouble, free_port, program, ran

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
OPENED = (
    *("java.base/java.io", "java.base/java.nio", "java.base/java.util.zip", "java.base/jdk.internal.misc"),
    *("java.base/jdk.internal.platform", "java.base/sun.net", "java.management/sun.management"),
    "jdk.management/com.sun.management.internal",
)
"""What the broker's libraries reach into."""


class Pulsar(Server):
    name = "pulsar"

    def __init__(
        self,
        within: Path | None = None,
        port: int | None = None,
        *,
        durable: bool = False,
        settings: Mapping[str, object] | None = None,
        auth: bool = False,
        heap: str = "",
    ) -> None:
        """As every server. *settings* go over those of standalone.conf; with *auth* nobody is let in without `token`.

        Whoever comes by a relay is told to stay with it, as a standalone broker tells every client.
        """
        super().__init__(within, port, durable=durable)
        self.http_port, self.bookie_port = free_port(), free_port()
        self.heap = heap or "2g"  # thousands of tests make a namespace each
        self._settings = settings or {}
        self._key = os.urandom(32) if auth else b""

    @classmethod
    def missing(cls) -> str:
        if not _java():
            return "there is no Java 17 (from 17.0.17 on) or 21"
        return "" if _jars().exists() else "its jars are not in the cache yet"

    @classmethod
    def lacks(cls) -> tuple[str, ...]:
        java = () if _java() else ("openjdk-17-jre-headless",)
        maven = () if _jars().exists() or program("mvn") else ("maven",)
        return java + maven

    @classmethod
    def fetch(cls) -> None:
        if not _java():
            raise ServerTrouble(cls.missing())
        kept(_jars(), _resolve)

    @classmethod
    def version(cls) -> str:
        found = re.search("<pulsar.version>(.*)</pulsar.version>", POM.read_text())
        return found[1] if found else "?"

    @property
    def url(self) -> str:
        return f"pulsar://127.0.0.1:{self.port}?admin_url={self.admin_url}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def token(self) -> str:
        """Who shows it is the superuser; "" without *auth*."""
        return _token(self._key) if self._key else ""

    def prepare(self) -> None:
        self.data.mkdir()

    def command(self) -> list[str]:
        self._conf().write_text("".join(f"{name}={value}\n" for name, value in self.settings().items()))
        drivers = "org.apache.pulsar.metadata.bookkeeper.PulsarMetadata"
        return [
            *(_java(), f"-Xmx{self.heap}", f"-XX:MaxDirectMemorySize={self.heap}", "-XX:+ExitOnOutOfMemoryError"),
            # Compiled quickly and not well, it starts with half the work.
            *([] if self.durable else ["-XX:TieredStopAtLevel=1"]),
            *(word for package in OPENED for word in ("--add-opens", f"{package}=ALL-UNNAMED")),
            *("-Dio.netty.tryReflectionSetAccessible=true", "-Djava.net.preferIPv4Stack=true"),
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}",
            f"-Dbookkeeper.metadata.bookie.drivers={drivers}BookieDriver",
            f"-Dbookkeeper.metadata.client.drivers={drivers}ClientDriver",
            *("-cp", f"{_jars()}/*", "org.apache.pulsar.PulsarStandaloneStarter"),
            *("--config", str(self._conf()), "--no-functions-worker", "--no-stream-storage"),
            *("--bookkeeper-port", str(self.bookie_port), "--bookkeeper-dir", str(self.data / "bookkeeper")),
            *("--metadata-dir", str(self.data / "metadata")),
        ]

    def settings(self) -> dict[str, object]:
        """All that the broker is told; the last word is whose server it is."""
        written = re.findall(r"^(\w+)=(.*)$", (HERE / "standalone.conf").read_text(), re.MULTILINE)
        ports = {"brokerServicePort": self.port, "webServicePort": self.http_port}
        told = dict(written) | ports | {"journalSyncData": str(self.durable).lower()}
        if self._key:
            told |= self._doorkeeper()
        return told | dict(self._settings)

    def is_ready(self, said: bytes) -> bool:
        """Its health check publishes a message and reads it back."""
        return self._get("brokers/health") == "ok" and "public/default" in self._get("namespaces/public")

    def _get(self, path: str) -> str:
        door = {"Authorization": f"Bearer {self.token}"} if self._key else {}
        asked = urllib.request.Request(f"{self.admin_url}/admin/v2/{path}", headers=door)
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            return ""

    def _conf(self) -> Path:
        return self.folder / "standalone.conf"

    def _doorkeeper(self) -> dict[str, object]:
        return {
            "authenticationEnabled": "true",
            "authenticationProviders": "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
            "tokenSecretKey": f"data:;base64,{base64.b64encode(self._key).decode()}",
            "authorizationEnabled": "true",
            "superUserRoles": "admin",
            "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
            "brokerClientAuthenticationParameters": f"token:{self.token}",
        }


def _token(key: bytes) -> str:
    """A JSON Web Token of the role "admin", signed with *key*."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    said = ".".join(part(json.dumps(one).encode()) for one in ({"alg": "HS256"}, {"sub": "admin"}))
    return f"{said}.{part(hmac.digest(key, said.encode(), hashlib.sha256))}"


def _java() -> str:
    """A Java that the broker runs well on, "" when there is none."""
    own = [Path(home) for home in [os.environ.get("JAVA_HOME")] if home]
    homes = [*own, *sorted(Path("/usr/lib/jvm").glob("*"))]
    found = [program("java"), *(program("java", home / "bin") for home in homes)]
    return next((java for java in found if java and _fits(_java_version(java))), "")


def _java_version(java: str) -> tuple[int, ...]:
    found = re.search(r'version "([\d.]+)', ran(java, "-version").decode())
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def _fits(version: tuple[int, ...]) -> bool:
    # Before 17.0.17 a thread pool may stall: JDK-8351933.
    return (17, 0, 17) <= version < (18,) or (21,) <= version < (22,)


def _jars() -> Path:
    return cache_folder() / f"pulsar-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def _resolve(jars: Path) -> None:
    if not program("mvn"):
        raise ServerTrouble("Maven brings its jars, and there is no mvn")
    copied = ("-DincludeScope=runtime", f"-DoutputDirectory={jars}")
    ran(program("mvn"), "-q", "-B", "-f", POM, "dependency:copy-dependencies", *copied)
