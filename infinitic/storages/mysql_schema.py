"""The tables of a MySQL or MariaDB storage: whether they are there, which version, and how they are made and changed.

The law of the place: the servers know no transaction around a change of tables, so each statement that was carried
out is counted beside the version. Whoever comes after a crash goes on at the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import field, frozen

from infinitic.errors import StorageError
from infinitic.records import decode_record
from infinitic.storages.mysql_server import Connection, Refused, Server
from infinitic.storages.mysql_writes import labelled_anew, listed, literal
from infinitic.storages.schemas import check_namespace
from infinitic.storages.sql import BESIDES, steps

STEPS = steps(Path(__file__).with_name("mysql.sql").read_text(encoding="utf-8"))
# Who makes or changes the tables holds the lock of this name, which may have 64 letters.
LOCK = "CONCAT('infinitic-', LEFT(SHA2(DATABASE(), 256), 40))"
MADE = frozenset({1050, 1060, 1061, 1091})  # that table, column or index is there already, or is gone already
ABSENT = 1146
UNBEGUN = -1

META = (
    "CREATE TABLE IF NOT EXISTS infinitic_meta (only_one TINYINT PRIMARY KEY, namespace VARBINARY(255) NOT NULL,"
    " version INT NOT NULL, done INT NOT NULL) ENGINE = InnoDB"
)
PAGE = "SELECT record FROM heads FORCE INDEX (PRIMARY) WHERE workflow_id > {} ORDER BY workflow_id LIMIT 500"
FOREIGN = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({})"


@frozen
class MySqlSchema:
    """The tables in one database, which is one namespace."""

    server: Server
    namespace: str = "default"
    steps: Sequence[str] = field(default=STEPS, repr=False)

    @property
    def place(self) -> str:
        return self.server.place

    @property
    def wanted(self) -> int:
        return len(self.steps)

    def found(self) -> int:
        with self._connected(patient=False) as db:
            return self._state(db)[0]

    def bring_up(self) -> None:
        with self._connected(patient=True) as db:  # a change of large tables takes its time
            if db.run(f"SELECT GET_LOCK({LOCK}, 60)")[0].rows[0][0] != 1:
                raise StorageError(f"{self.place}: somebody has changed the tables for 60 s", "Wait, and try again.")
            found, done = self._state(db)
            if done == UNBEGUN:
                self._begin(db)
            # New tables get no version before the last one, lest who looks meanwhile takes them for old ones.
            for old in range(found, self.wanted) if found else [0]:
                self._step(db, old, old + 1 if found else self.wanted, done)
                done = 0

    @contextmanager
    def _connected(self, *, patient: bool) -> Iterator[Connection]:
        db = self.server.connect(patient=patient)
        try:
            yield db
        finally:
            db.close()  # and with it goes the lock

    def _state(self, db: Connection) -> tuple[int, int]:
        """The version that is there, and how many statements of the next one were carried out."""
        try:
            rows = db.run("SELECT namespace, version, done FROM infinitic_meta")[0].rows
        except Refused as refused:
            if refused.number != ABSENT:
                raise
            rows = []
        if not rows:
            return 0, UNBEGUN
        namespace, version, done = bytes(rows[0][0]).decode(), *rows[0][1:]
        check_namespace(self, namespace)
        return version, done

    def _begin(self, db: Connection) -> None:
        foreign = [str(row[0]) for row in db.run(FOREIGN.format(listed(("heads", "tags", "labels", *BESIDES))))[0].rows]
        if foreign:
            raise StorageError(
                f"{self.place} has tables of something else: {', '.join(sorted(foreign))}",
                "Give the workflows a database of their own.",
            )
        db.run(META, f"INSERT IGNORE INTO infinitic_meta VALUES (1, {literal(self.namespace)}, 0, 0)", "COMMIT")

    def _step(self, db: Connection, old: int, new: int, done: int) -> None:
        """From version *old* to *new*, but for the *done* statements that were carried out before."""
        for number, statement in enumerate(_statements("\n".join(self.steps[old:new]))):
            if number < done:
                continue
            try:
                db.run(statement)
            except Refused as refused:
                # A crash may have come between a statement and its count.
                if number != done or refused.number not in MADE:
                    raise
            db.run(f"UPDATE infinitic_meta SET done = {number + 1}", "COMMIT")
        if old == 1:
            _label(db)
        db.run(f"UPDATE infinitic_meta SET version = {new}, done = 0", "COMMIT")


def _label(db: Connection) -> None:
    """Write for all instances what the second version has of their records. Here, where JSON may be of any depth."""
    last = ""
    while rows := db.run(PAGE.format(literal(last)))[0].rows:
        records = [decode_record(row[0]) for row in rows]
        db.run(*labelled_anew(records, db.most), "COMMIT")
        last = records[-1].workflow_id


def _statements(step: str) -> list[str]:
    lines = (line.partition("--")[0].rstrip() for line in step.splitlines())
    return [said.strip() for said in "\n".join(lines).split(";\n") if said.strip()]
