"""The README is run: each Python block, each command with its output, each message.

A block is named by what follows its language: a file's name, `continued` (goes on where the block before
ended), `excerpt` (a part of what is run elsewhere). A `text` block is what the Python block before it says.
`python -m tests.test_readme` writes into the README what is really said.
"""

import logging
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap
from tomllib import loads as load_toml
from types import ModuleType

import pytest
from attrs import frozen

from infinitic.config import load_config, shown
from tests.servers.found import server
from tests.storages import on_mysql
from tests.transports import on_pulsar

HOUSE = Path(__file__).parents[1]
README = HOUSE / "README.md"
BLOCK = re.compile(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
GIVES = re.compile(r"^( *)(.+?)  # → (.+)$", re.MULTILINE)
PATIENCE = 20.0

VARIES = {
    r"\b[0-9a-f]{8}-(?:…|(?:[0-9a-f]{4}-){3}[0-9a-f]{12})": "<id>",
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC": "<instant>",
    r"just now|\b\d+ (?:s|min) ago": "<ago>",
    r"\bin \d+ h(?: \d+ min)?": "<due>",
    r" *\b\d+(?:\.\d+)? ?(?:ms|s)\b": "<time>",
    r"worker \S+:\d+ is": "worker <name> is",
    r"worker [AB]|kill -9 \d+|\d+ and \d+\.": "<process>",
    r"(?:/[^/\s:]+)+/(?=\w+\.py)": "",
    r"example\.py:\d+": "example.py:<line>",
    r"(?<=\S) {2,}": "  ",
}


def normal(text):
    """*text* without what differs from one run to the next."""
    for pattern, word in VARIES.items():
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def words(text):
    """*text* without what differs, however its lines are folded."""
    return normal(text).split()


def told(text, command):
    """What a command prints: a paragraph of `why` may be folded elsewhere."""
    return words(text) if "why" in command else normal(text)


@frozen
class Block:
    kind: str
    about: str
    text: str
    line: int


def blocks_of(text):
    return [
        Block(match[1], match[2].strip(), match[3], text.count("\n", 0, match.start()) + 1)
        for match in BLOCK.finditer(text)
    ]


BLOCKS = blocks_of(README.read_text(encoding="utf-8"))
FILES = {block.about: block.text for block in BLOCKS if block.kind == "python" and block.about.endswith(".py")}


def line_of(value):
    return f"line {value[0].line if isinstance(value, list) else value.line}"


def named(kind, about=""):
    return [block for block in BLOCKS if (block.kind, block.about) == (kind, about)]


# --- Python ---


def programs():
    """Python blocks with those that continue them, and the texts between them."""
    found: list[list[Block]] = []
    for block in BLOCKS:
        if (block.kind, block.about) == ("python", ""):
            found.append([])
        if block.kind == "text" or (block.kind == "python" and block.about in {"", "continued"}):
            found[-1].append(block)
    return found


class Program:
    """A file that grows by one block after the other, each run when it comes."""

    def __init__(self, path):
        self.path, self.text, self.gave = path, "", []
        self.module = ModuleType(path.stem)
        vars(self.module).update(__file__=str(path), gives=self.gives)

    def gives(self, value, shown):
        self.gave.append((repr(value), shown))

    def run(self, block):
        lines_before = self.text.count("\n")
        self.text += block.text
        self.path.write_text(self.text)
        source = GIVES.sub(lambda found: f"{found[1]}gives({found[2]}, {found[3]!r})", block.text)
        exec(compile("\n" * lines_before + source, self.path, "exec"), vars(self.module))


class Heard(logging.Handler):
    """Keeps what the library warns of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def said_by(program, block):
    """What running the block logs and raises, as a person sees it; "" when it does neither."""
    heard, raised = Heard(), []
    logging.getLogger("infinitic").addHandler(heard)
    try:
        program.run(block)
    except Exception as error:
        raised.append(f"{type(error).__name__}: {error}")
    finally:
        logging.getLogger("infinitic").removeHandler(heard)
    return "\n".join([*heard.lines, *raised])


def run_program(blocks, folder):
    """Each text of the program, and what was really said there; what lines gave, and what is shown."""
    program, said = Program(folder / "example.py"), []
    sys.modules["example"] = program.module
    try:
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if following is not None and following.kind == "text":
                said.append((following, said_by(program, block)))
            elif block.kind == "python":
                program.run(block)
    finally:
        del sys.modules["example"]
    return said, program.gave


@pytest.mark.parametrize("blocks", programs(), ids=line_of)
def test_python_gives_and_raises_what_is_shown(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, gave = run_program(blocks, tmp_path)

    assert [words(real) for _, real in said] == [words(block.text) for block, _ in said]
    assert [real for real, _ in gave] == [shown for _, shown in gave]


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.about.startswith("excerpt ")], ids=line_of)
def test_an_excerpt_is_a_part_of_its_file(block):
    assert block.text in FILES[block.about.removeprefix("excerpt ")]


# --- the terminal ---


class Terminal:
    """A folder with the README's files, and one worker at most."""

    def __init__(self, folder):
        self.folder, self.worker = folder, None
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("INFINITIC_")}

    def write(self, files):
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def run(self, command, shown):
        """What *command* prints. Looking is repeated until it is as *shown*, for a while."""
        match shlex.split(command):
            case ["infinitic", "worker", *_] as words:
                return self.serve(words)
            case ["git", "checkout", "--quiet", name]:
                self.write({name: FILES[name]})
                return ""
            case ["infinitic", "show" | "list" | "why", *_] as words:
                return self.look(words, shown)
            case words:
                return self.output(words)

    def output(self, words):
        with self.start(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            return process.communicate()[0]

    def start(self, words, **streams):
        program = {"python": [sys.executable], "infinitic": [sys.executable, "-m", "infinitic"]}
        return subprocess.Popen(
            [*program[words[0]], *words[1:]],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **streams,
        )

    def look(self, words, shown):
        until = time.monotonic() + PATIENCE
        while told(text := self.output(words), words) != told(shown, words) and time.monotonic() < until:
            pass
        return text

    def serve(self, words):
        """Start a worker: what it says until it is at work. One that is there is killed."""
        self.close()
        self.worker = self.start(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        lines = []
        for line in self.worker.stderr:
            lines.append(line)
            if "is at work" in line:
                break
        return "".join(lines)

    def patch(self, block):
        """Apply a diff of one hunk to the file that the block is named after."""
        lines = block.text.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        path = self.folder / block.about
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def close(self):
        if self.worker is not None:
            self.worker.kill()
            self.worker.communicate()


def session(terminal):
    """The block, the command, what is shown for it, and what it really prints: in the order of the README."""
    for block in BLOCKS:
        if block.kind == "diff":
            terminal.patch(block)
        elif (block.kind, block.about) == ("console", ""):
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                yield block, command, shown, "" if command == "make demo" else terminal.run(command, shown)


def test_every_command_prints_what_is_shown(tmp_path):
    with closing(Terminal(tmp_path)) as terminal:
        terminal.write(FILES)
        for _, command, shown, real in session(terminal):
            assert [command, told(real, command)] == [command, told(shown, command)]


class Town(Terminal):
    """A folder with the configuration of servers, and all workers that are started; real URLs stand for shown ones."""

    def __init__(self, folder, transport, storage):
        super().__init__(folder)
        [block] = named("toml", "servers/infinitic.toml")
        names = load_toml(block.text)
        self.real = {names["transport"]: transport, names["storage"]: storage}
        self.workers = []
        self.environment["PYTHONPATH"] = str(HOUSE)
        text = block.text
        for url, real in self.real.items():
            text = text.replace(url, real)
        (folder / "infinitic.toml").write_text(text)

    def output(self, words):
        return self.presented(super().output(words))

    def presented(self, text):
        """What is printed, as if the servers were those of the README."""
        for url, real in self.real.items():
            text = text.replace(real, shown(url))
        return text

    def serve(self, words):
        others, self.workers = self.workers, []  # lest they are ended
        text = super().serve(words)
        self.workers = [*others, self.worker]
        return self.presented(text)

    def close(self):
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.communicate()
        self.workers = []


@pytest.fixture
def town(tmp_path):
    with on_mysql.database(server("mariadb")) as storage:
        transport = on_pulsar.fresh(server("pulsar"))
        with closing(Town(tmp_path, transport, storage)) as made:
            yield made


def town_session(terminal):
    for block in named("console", "servers"):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            yield block, command, expected, terminal.run(command, expected)


def test_every_command_on_servers_prints_what_is_shown(town):
    for _, command, expected, real in town_session(town):
        assert [command, told(real, command)] == [command, told(expected, command)]


def test_the_doctor_says_what_is_shown(town):
    town.output(["infinitic", "storage", "init"])
    [block] = named("console", "servers excerpt")
    command, *lines = normal(block.text).splitlines()

    assert {*lines} <= {*normal(town.output(shlex.split(command.removeprefix("$ ")))).splitlines()}


def test_the_demo_tells_what_is_shown(tmp_path):
    told = Terminal(tmp_path).output(["infinitic", "demo"])
    [block] = named("console", "excerpt")

    assert set(normal(block.text).splitlines()) <= set(normal(told).splitlines())


# --- the rest ---


@pytest.mark.parametrize("sample", ["hello", "booking", "loyalty", "invoicing"])
def test_a_sample_prints_what_its_readme_shows(sample):
    text = (HOUSE / "samples" / sample / "README.md").read_text(encoding="utf-8")
    [block] = [block for block in blocks_of(text) if block.kind == "console"]
    command, _, shown = block.text.removeprefix("$ ").partition("\n")

    assert Terminal(HOUSE).output(shlex.split(command)) == shown


def test_the_configuration_that_is_shown_is_one(tmp_path):
    [block] = named("toml", "infinitic.toml")
    (tmp_path / "infinitic.toml").write_text(block.text)
    config = load_config(directory=tmp_path, environ={})

    assert (config.transport, config.storage) == ("sqlite:///trips.db", "sqlite:///trips.db")
    assert (config.retention, config.concurrency, config.cache_instances) == (86_400, 4, 1_000)
    assert config.durability == "normal"


def test_no_block_is_left_unrun():
    kinds = {"python", "console", "text", "diff", "toml", "json", "java"}  # json: see test_message_schemas

    assert [block.line for block in BLOCKS if block.kind not in kinds] == [
        block.line for block in BLOCKS if (block.kind, block.about) == ("sh", "")
    ]
    assert len(named("sh")) == 2  # pip install, docker compose: done by whoever reads it


@pytest.mark.parametrize(
    "page", ["README.md", *(str(one.relative_to(HOUSE)) for one in HOUSE.glob("samples/*/README.md"))]
)
def test_links_inside_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)\)", (HOUSE / page).read_text(encoding="utf-8"))

    assert [link for link in links if not ((HOUSE / page).parent / link).exists()] == []


# --- writing ---


class PatientTerminal(Terminal):
    """Looks when everything that was under way has surely ended."""

    def look(self, words, shown):
        time.sleep(2)
        return self.output(words)


def presentable(text, width=None):
    """*text* with the name of one machine and the ids of one day taken out, folded to *width*."""
    text = re.sub(r"\b([0-9a-f]{8})-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", r"\1-…", text)
    text = re.sub(r"(?:/[^/\s:]+)+/(?=\w+\.py)", "", re.sub(r"worker \S+:\d+ is", "worker myhost:4242 is", text))
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    if width:
        lines = [part for line in lines for part in wrap(line, width, break_on_hyphens=False)]
    return "".join(f"{line}\n" for line in lines)


def real_texts(folder):
    """What is really said, by the line of its block."""
    texts = {}
    for blocks in programs():
        for block, real in run_program(blocks, folder)[0]:
            texts[block.line] = presentable(real, 110)
    with closing(PatientTerminal(folder)) as terminal:
        terminal.write(FILES)
        for block, command, _, real in session(terminal):
            texts[block.line] = (
                texts.get(block.line, "") + f"$ {command}\n{presentable(real, 110 if 'why' in command else None)}"
            )
    if os.environ.get("TEST_PULSAR_URL"):
        texts |= texts_on_servers(folder)
    return texts


def texts_on_servers(folder):
    texts = {}
    with (
        on_mysql.database(server("mariadb")) as storage,
        closing(Town(folder, on_pulsar.fresh(server("pulsar")), storage)) as town,
    ):
        for block, command, _, real in town_session(town):
            texts[block.line] = texts.get(block.line, "") + f"$ {command}\n{presentable(real)}"
    return texts


def write(folder):
    """Write what is really said into the README."""
    text_before, real = README.read_text(encoding="utf-8"), real_texts(folder)

    def renewed(found):
        text = real.get(text_before.count("\n", 0, found.start()) + 1)
        return found[0] if text is None else found[0].partition("\n")[0] + f"\n{text}```"

    README.write_text(BLOCK.sub(renewed, text_before), encoding="utf-8")


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        write(Path(temporary))
