"""Any storage does what the memory storage does, whatever it is asked, in whatever order."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from infinitic.records import BY_HAND, Filter, Mark, Version
from infinitic.storages.memory import MemoryStorage
from tests.storages.given import (
    NOON,
    SECOND,
    JumpingClock,
    after,
    child_of,
    item,
    loaded,
    next_run,
    record,
    start,
    timer,
    waits_for,
)

ids = st.sampled_from(["a", "a ", "A"])
keys = st.lists(st.sampled_from(["k1", "k2", "k3"]), unique=True, max_size=2)
positions = st.lists(st.sampled_from(["m0.1", "m0.2", "m0.3"]), unique=True, max_size=2)
statuses = st.sampled_from(["running", "suspended", "completed"])
runs = st.sampled_from(["z", "r1", "m"])
offsets = st.integers(-2, 5).map(lambda seconds: seconds * SECOND // 2)
names = st.sampled_from(["trips", "tours"])
tags = st.sets(st.sampled_from(["x", "x ", "y"])).map(sorted).map(tuple)
waits = st.sampled_from([(), waits_for("charge"), waits_for("charge", "book"), waits_for("timer", kind="timer")])
parents = st.sampled_from([None, child_of("a"), child_of("A")])
facts = st.fixed_dictionaries(
    {"tags": tags, "waits": waits, "caller": parents, "ended": st.sampled_from([0, NOON, NOON + SECOND])}
)
filters = st.builds(
    Filter,
    workflow=st.sampled_from(["", "trips"]),
    status=st.sampled_from(["", "running", "completed"]),
    tag=st.sampled_from(["", "x", "y"]),
    parent=st.sampled_from(["", "", "a"]),
    waiting=st.sampled_from(["", "", "charge", "task"]),
    since=st.sampled_from([0, NOON, NOON + SECOND]),
    until=st.sampled_from([0, NOON + 2 * SECOND]),
    ended_since=st.sampled_from([0, 0, NOON]),
    ended_until=st.sampled_from([0, 0, NOON + SECOND]),
    id_prefix=st.sampled_from(["", "a", "A"]),
)


prints = st.sampled_from(["", "mine", "other", BY_HAND])


class Machine(RuleBasedStateMachine):
    """Asks a storage and the memory storage the same, at the same time by the same clock."""

    kind: Any

    def __init__(self):
        super().__init__()
        self.clock = JumpingClock()
        self.stack = ExitStack()
        directory = self.stack.enter_context(TemporaryDirectory())
        self.storage = self.stack.enter_context(self.kind.open(Path(directory), self.clock))
        self.model = MemoryStorage(self.clock)
        self.runs = 0

    def teardown(self):
        self.stack.close()

    def both(self, ask):
        answer = ask(self.storage)
        assert answer == ask(self.model)
        return answer

    def append(self, one):
        self.both(lambda storage: storage.append([one]))

    @rule(id_=ids, name=names, status=statuses, sent=st.integers(0, 2), offset=offsets, its=facts)
    def start(self, id_, name, status, sent, offset, its):
        its = record(id_, workflow=name, status=status, started=NOON + offset, **its)
        self.append(start(id_, 2, "r1", workflow=name, mark=Mark("r1", sent), record=its))

    @rule(
        id_=ids,
        count=st.integers(0, 2),
        back=st.integers(0, 2),
        added=keys,
        removed=keys,
        were_set=positions,
        cleared=positions,
        offset=offsets,
        held=st.integers(0, 3),
        finished=st.booleans(),
    )
    def go_on(self, id_, count, back, added, removed, were_set, cleared, offset, held, finished):
        if (stored := self.model.load(id_)) is None:
            return
        run, before = stored.version.run, stored.version.turns
        now = self.clock()
        fields = {"workflow": stored.workflow, "run": run, "claimed_until": held and now + held * SECOND}
        self.append(
            after(
                stored,
                count,
                inbox=1,
                mark=Mark(run, max(0, before + count - back)),
                inbox_added=tuple(map(item, added)),
                inbox_removed=tuple(removed),
                timers_set=tuple(timer(position, now + offset, id_, **fields) for position in were_set),
                timers_cleared=tuple((run, position) for position in cleared),
                expires=now + SECOND if finished else None,
            )
        )

    @rule(id_=ids, status=statuses, fingerprint=prints, keep=st.booleans(), its=facts)
    def record_anew(self, id_, status, fingerprint, keep, its):
        if (stored := self.model.load(id_)) is not None:
            fields = {"workflow": stored.workflow, "started": stored.record.started, **its}
            its = record(id_, status=status, fingerprint=fingerprint, **fields)
            mark = {"mark": stored.mark} if keep else {}
            self.append(after(stored, 1, record=its, token="recorder", **mark))

    @rule(id_=ids, back=st.integers(0, 2))
    def move_the_mark(self, id_, back):
        if (stored := self.model.load(id_)) is not None:
            self.append(after(stored, mark=Mark(stored.version.run, max(0, stored.version.turns - back))))

    @rule(id_=ids, keep=st.booleans(), ending=st.booleans())
    def begin_another_run(self, id_, keep, ending):
        if (stored := self.model.load(id_)) is None:
            return
        self.runs += 1
        # Not in the order in which they begin.
        run = f"{997 * self.runs % 1_000}"
        fields = {"mark": stored.mark} if keep else {}
        ended = (stored.version.run,) if ending else ()
        its = record(id_, workflow=stored.workflow, run=run, started=self.clock())
        self.append(next_run(stored, run, 2, record=its, runs_ended=ended, **fields))

    @rule(id_=ids, turns=st.integers(0, 3), run=runs, inbox=st.integers(0, 2))
    def ask_for_a_version(self, id_, turns, run, inbox):
        expected = Version(run, turns, inbox)
        stored = self.model.load(id_)
        if stored is None or stored.version != expected:
            self.append(after(start(id_, version=expected)))

    @rule(seconds=st.integers(0, 3))
    def jump(self, seconds):
        self.clock.jump(seconds * SECOND // 3)

    # Which of more than it takes a sweep claims, nothing promises.
    @rule(ahead=st.integers(0, 2), asked=st.lists(names, unique=True))
    def claim(self, ahead, asked):
        self.both(lambda storage: storage.claim_due_timers(asked, ahead * SECOND, 100, SECOND))

    @rule()
    def purge(self):
        now = self.clock()
        self.both(lambda storage: storage.purge(now))

    @rule(where=filters, least=st.integers(0, 2))
    def remove(self, where, least):
        past = self.both(lambda storage: storage.ended(where, 10))
        if past:
            self.both(lambda storage: storage.ended(where, 1, past[0]))
        self.both(lambda storage: storage.remove(past[least:]))

    @rule(mine=st.dictionaries(names, st.sampled_from(["", "mine", "other"])), seconds=st.integers(-1, 2))
    def offers(self, mine, seconds):
        since = self.clock() - seconds * SECOND
        self.both(lambda storage: sorted(storage.offers(mine, since, 10)))

    @rule(where=filters, limit=st.integers(1, 3))
    def find(self, where, limit):
        self.both(lambda storage: storage.count(where))
        self.both(lambda storage: storage.records(["a", "A", "absent", "a "]))
        page = self.both(lambda storage: storage.find(where, limit))
        while page.after:
            page = self.both(lambda storage, after=page.after: storage.find(where, limit, after))

    @invariant()
    def all_is_loaded_alike(self):
        for id_ in ("a", "a ", "A"):
            self.is_loaded_alike(id_)

    def is_loaded_alike(self, id_):
        stored = self.both(lambda storage: loaded(storage, id_))
        if stored is not None:
            self.both(lambda storage: storage.load(id_, 1, stored.version.run).turns)
            self.both(lambda storage: [storage.history(id_, run) for run in (stored.version.run, stored.mark.run)])


def test_a_storage_does_what_the_memory_storage_does(kind, count, tmp_path):
    with kind.open(tmp_path, JumpingClock()):
        pass  # a server that is missing skips the test here, and not amid what hypothesis tries
    machine = type("MachineOfOneKind", (Machine,), {"kind": kind})
    most = settings().max_examples
    run_state_machine_as_test(machine, settings=settings(max_examples=count(8, most) if kind.served else most))
