"""`infinitic export` and `import`, and `check --history`: histories as files."""

import json
from pathlib import Path

import pytest

from infinitic.cli.exits import DIVERGED, OK, OPERATOR, REFUSED, USAGE
from infinitic.client import Client
from infinitic.records import decode_record
from infinitic.worker.exports import IMPORTED
from tests.cli import trips
from tests.cli.test_check import TWICE, change, checked, content


@pytest.fixture
def served(url, worker):
    """Two instances that wait, and one that has ended; no worker any more."""
    one = worker("trips")
    with Client(url) as client:
        for name in ("ada", "bob"):
            client.start(trips.Loyalty.run(9), id=name)
            client.run(trips.Loyalty.by_id(name).bonus.send(5), timeout=60)
        client.start(trips.Loyalty.run(1), id="eve")
        client.run(trips.Loyalty.by_id("eve").bonus.send(7), timeout=60)
        client.get("eve", trips.Loyalty.run).result(60)
    assert one.stop() == 0


@pytest.fixture
def elsewhere(bare, tmp_path):
    """Runs a command on another database, which is not there yet."""
    return lambda *args, **more: bare(*args, "--url", f"sqlite:///{tmp_path}/elsewhere.db", **more)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("served")
def test_an_export_is_a_header_and_the_turns_as_they_are_stored(infinitic, url):
    before = content(url)
    told = infinitic("export", "ada")
    header, *turns = lines(told.out)
    with Client(url) as client:
        [record] = [one for one in client.find() if one.workflow_id == "ada"]

    assert (told.code, content(url)) == (OK, before)
    assert decode_record(json.dumps(header.pop("record")).encode()) == record
    assert header == {
        "kind": "history",
        "format": 1,
        "workflow": "Loyalty",
        "workflow_id": "ada",
        "run": record.run,
        "version": 1,
        "turns": len(turns),
    }
    assert [turn["event"]["kind"] for turn in turns] == ["started", "signal"]


@pytest.mark.usefixtures("served")
def test_many_are_exported_by_a_filter_the_newest_first(infinitic):
    def ids(*args):
        return [one["workflow_id"] for one in lines(infinitic("export", *args).out) if one.get("kind") == "history"]

    assert ids("--workflow", "Loyalty") == ["eve", "bob", "ada"]
    assert ids("--status", "completed") == ["eve"]
    assert ids("--status", "running", "--limit", "1") == ["bob"]
    assert ids("bob", "ada") == ["bob", "ada"]
    assert ids("--workflow", "nothing") == []


def test_what_is_to_be_exported_must_be_said_in_one_way(infinitic):
    assert infinitic("export").code == USAGE
    assert infinitic("export", "ada", "--limit", "1").code == USAGE


@pytest.mark.usefixtures("served")
def test_an_id_that_is_not_there_is_told_with_one_that_is_like_it(infinitic):
    told = infinitic("export", "adda")

    assert (told.code, told.out) == (REFUSED, "")
    assert "Did you mean ada?" in told.line


@pytest.mark.usefixtures("served")
def test_what_is_imported_is_shown_as_it_was_and_exports_as_it_came(infinitic, elsewhere, tmp_path):
    out = infinitic("export", "eve", "ada").out
    (tmp_path / "both.jsonl").write_text(out)
    told = elsewhere("import", "both.jsonl")

    assert (told.code, told.out) == (OK, "eve is here: Loyalty, 2 turns\nada is here: Loyalty, 2 turns\n")
    assert elsewhere("export", "eve").out == "".join(f"{line}\n" for line in out.splitlines()[:3])
    shown = {one: json.loads(elsewhere("show", one, "--json").out) for one in ("eve", "ada")}
    here = {one: json.loads(infinitic("show", one, "--json").out) for one in ("eve", "ada")}
    assert shown["eve"] == here["eve"]
    assert shown["ada"] == here["ada"] | {"status": "suspended", "reason": IMPORTED}
    why = elsewhere("why", "ada")
    assert (why.code, IMPORTED in " ".join(why.out.split()), "resume" in why.out) == (OK, True, False)
    assert checked(f"sqlite:///{tmp_path}/elsewhere.db", "trips", "--all").code == OK


@pytest.mark.usefixtures("served")
def test_an_import_through_a_pipe_and_as_json(infinitic, elsewhere):
    out = infinitic("export", "--workflow", "Loyalty").out

    assert elsewhere("import", "-", "--json", stdin=out).data == ["eve", "bob", "ada"]


@pytest.mark.usefixtures("served")
def test_an_import_sends_nothing(infinitic, elsewhere, tmp_path):
    elsewhere("import", "-", stdin=infinitic("export", "ada", "eve").out)
    dumped = "\n".join(content(f"sqlite:///{tmp_path}/elsewhere.db"))

    assert 'INSERT INTO "timers"' not in dumped
    assert 'INSERT INTO "messages"' not in dumped
    assert 'INSERT INTO "turns"' in dumped


@pytest.mark.usefixtures("served")
def test_an_id_that_is_in_use_is_refused_and_nothing_is_imported(infinitic, elsewhere):
    one, three = infinitic("export", "ada").out, infinitic("export", "bob", "ada", "eve").out
    assert elsewhere("import", "-", stdin=one).code == OK
    told = elsewhere("import", "-", stdin=three)

    assert told.code == REFUSED
    assert told.line == (
        "'ada' is in use by a Loyalty instance that is suspended. "
        "Import into another storage, as in --url sqlite:///look.db."
    )
    assert [one["id"] for one in elsewhere("list", "--json").data] == ["ada"]


BAD = {
    "no JSON": ("hello\n", "x.jsonl:1: no exported instance begins here"),
    "no header": ('{"event":{}}\n', "x.jsonl:1: no exported instance begins here"),
    "cut": (None, "x.jsonl:1: ada has 2 turns, and 1 follow"),
    "a newer format": ('"format":9', "x.jsonl:1: a newer release has exported this, in format 9"),
    "no turn": ("swap", "x.jsonl:2: this is not turn 0 of ada"),
}


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", ["import", "check"])
def test_what_is_no_export_is_refused_with_its_line(infinitic, bare, tmp_path, what, command):
    out = infinitic("export", "ada").out
    text, says = BAD[what]
    first, second, third = out.splitlines()
    broken = {
        "cut": f"{first}\n{second}\n",
        "a newer format": out.replace('"format":1', '"format":9', 1),
        "no turn": f"{first}\n{third}\n{second}\n",
    }.get(what, text)
    Path("x.jsonl").write_text(broken or "")
    arguments = ["import", "x.jsonl", "--url", f"sqlite:///{tmp_path}/y.db"]
    told = bare(*(arguments if command == "import" else ["check", "trips", "--history", "x.jsonl"]))

    assert told.code == OPERATOR
    assert told.line.startswith(says)


@pytest.mark.usefixtures("served")
def test_histories_are_checked_without_a_storage(infinitic, folder):
    (folder / "histories").mkdir()
    for name in ("ada", "bob", "eve"):
        (folder / "histories" / f"{name}.jsonl").write_text(infinitic("export", name).out)
    nowhere = f"sqlite:///{folder}/nowhere.db"

    fine = "✔ 3 instances replay as before\n"
    files = [f"histories/{name}.jsonl" for name in ("ada", "bob", "eve")]
    assert checked(nowhere, "trips", "--history", "histories").out == fine
    assert checked(nowhere, "trips", "--history", *files).out == fine
    assert checked(nowhere, "trips", "--history", "histories", "--limit", "2").out == fine.replace("3", "2")
    assert not (folder / "nowhere.db").exists()
    change(folder, *TWICE)
    told = checked(nowhere, "trips", "--history", "histories", "--json")
    assert told.code == DIVERGED
    assert (told.data["replayed"], told.data["diverged"]) == (0, 3)
    assert told.data["problems"][0]["examples"] == ["ada", "bob"]


@pytest.mark.usefixtures("served")
def test_histories_of_code_that_is_not_there_are_counted(infinitic, folder):
    (folder / "ada.jsonl").write_text(infinitic("export", "ada").out)
    (folder / "other.py").write_text(
        "from dsl import *\n"
        "class Loyalty(Workflow, version=2):\n    @method\n    def run(self, weeks: int) -> int:\n        return 1\n"
    )

    told = checked("memory://", "other", "--history", "ada.jsonl", "--json")
    assert (told.code, told.data["uncovered"]) == (OK, {"Loyalty version 1": 1})
    assert checked("memory://", "other", "--history", "ada.jsonl", "--strict").code == DIVERGED
    assert checked("memory://", "ada.jsonl", "--history", "ada.jsonl").code == USAGE
