"""Guards of the backends and storages: the order of a commit, compare-and-set, claims, purge."""

from tests.rules.mutant import Mutant

BACKENDS_DISTRIBUTED = "infinitic/backends/distributed.py"
STORAGES_MEMORY = "infinitic/storages/memory.py"
STORAGES_SQLITE = "infinitic/storages/sqlite.py"
BACKENDS_DISTRIBUTED_TESTS = "tests/backends/test_distributed.py"
COMMIT_RULES_TESTS = "tests/rules/test_commit_rules.py"
STORAGES_APPEND_TESTS = "tests/storages/test_append.py"
STORAGES_RUNS_TESTS = "tests/storages/test_runs.py"
STORAGES_SWEEPS_TESTS = "tests/storages/test_sweeps.py"
STORAGES_TIMERS_TESTS = "tests/storages/test_timers.py"

MUTANTS = (
    Mutant(
        "nothing is sent before it is persisted",
        BACKENDS_DISTRIBUTED,
        (
            "        won = self._persist(steps)\n"
            "        winners = [step for step, wins in zip(steps, won, strict=True) if wins]\n"
            "        self._publish([outgoing for step in winners for outgoing in step.outputs])\n"
        ),
        (
            "        self._publish([outgoing for step in steps for outgoing in step.outputs])\n"
            "        won = self._persist(steps)\n"
            "        winners = [step for step, wins in zip(steps, won, strict=True) if wins]\n"
        ),
        (f"{COMMIT_RULES_TESTS}::test_a_lost_reply_to_an_append_that_had_landed_costs_nothing",),
    ),
    Mutant(
        "who lost publishes and acknowledges nothing",
        BACKENDS_DISTRIBUTED,
        "[step for step, wins in zip(steps, won, strict=True) if wins]",
        "[*steps]",
        (f"{COMMIT_RULES_TESTS}::test_who_loses_the_race_publishes_nothing_and_applies_the_event_to_what_there_is",),
    ),
    Mutant(
        "nothing is acknowledged before it is sent",
        BACKENDS_DISTRIBUTED,
        (
            "        self._publish([outgoing for step in winners for outgoing in step.outputs])\n"
            "        _acknowledge(winners)\n"
        ),
        (
            "        _acknowledge(winners)\n"
            "        self._publish([outgoing for step in winners for outgoing in step.outputs])\n"
        ),
        (f"{COMMIT_RULES_TESTS}::test_a_fan_out_of_a_thousand_whose_owner_changes_half_way_loses_and_doubles_nothing",),
    ),
    Mutant(
        "hints may be lost",
        BACKENDS_DISTRIBUTED,
        ("        with suppress(TransportError):\n            self._publish"),
        ("        if True:\n            self._publish"),
        (f"{BACKENDS_DISTRIBUTED_TESTS}::test_hints_that_cannot_be_sent_are_nobodys_trouble",),
    ),
    Mutant(
        "memory: an append compares before it writes",
        STORAGES_MEMORY,
        ("        if append.expected != (None if instance is None else instance.version):\n            return False\n"),
        "",
        (f"{STORAGES_APPEND_TESTS}::test_an_append_that_expects_another_version_loses_and_changes_nothing",),
    ),
    Mutant(
        "memory: the inbox's version is compared too",
        STORAGES_MEMORY,
        "if append.expected != (None if instance is None else instance.version):",
        (
            "if (append.expected and (append.expected.run, append.expected.turns)) != (instance and (instance"
            ".version.run, instance.version.turns)):"
        ),
        (f"{STORAGES_RUNS_TESTS}::test_an_inbox_that_changed_loses_the_race_of_who_did_not_see_it",),
    ),
    Mutant(
        "memory: who is behind is not purged",
        STORAGES_MEMORY,
        " or found.is_behind:",
        ":",
        (f"{STORAGES_SWEEPS_TESTS}::test_an_instance_whose_mark_is_behind_is_not_purged",),
    ),
    Mutant(
        "memory: nobody is purged before its time",
        STORAGES_MEMORY,
        "if one.expires < now]))",
        "]))",
        (f"{STORAGES_SWEEPS_TESTS}::test_only_what_expires_before_that_instant_is_purged",),
    ),
    Mutant(
        "memory: who moved is not purged",
        STORAGES_MEMORY,
        "found is None or found.version != past.version or",
        "found is None or",
        (f"{STORAGES_SWEEPS_TESTS}::test_what_went_on_since_it_was_listed_is_not_removed",),
    ),
    Mutant(
        "memory: a claimed timer is its claimer's",
        STORAGES_MEMORY,
        "return row.claimed_until <= now",
        "return True",
        (f"{STORAGES_TIMERS_TESTS}::test_a_timer_that_is_born_claimed_is_left_to_its_claimer",),
    ),
    Mutant(
        "memory: timers beyond the look-ahead are left",
        STORAGES_MEMORY,
        "row.due <= now + ahead and",
        "",
        (f"{STORAGES_TIMERS_TESTS}::test_timers_due_beyond_the_look_ahead_are_not_claimed",),
    ),
    Mutant(
        "memory: an inbox keeps an item once",
        STORAGES_MEMORY,
        ("            self.inbox.setdefault(item.key, item)\n"),
        '            self.inbox[f"{item.key}{len(self.inbox)}"] = item\n',
        (f"{STORAGES_RUNS_TESTS}::test_the_inbox_keeps_an_item_once_per_key_and_in_its_first_place",),
    ),
    Mutant(
        "memory: the end of a run clears its timers",
        STORAGES_MEMORY,
        "ended = {key for key in self.timers if key[0] in append.runs_ended}",
        "ended: set[tuple[str, str]] = set()",
        (f"{STORAGES_TIMERS_TESTS}::test_the_end_of_a_run_clears_its_timers_before_others_are_set",),
    ),
    Mutant(
        "memory: a mark that stands still is behind since it stood",
        STORAGES_MEMORY,
        "stood_still = mark == self.mark and self.behind_since is not None",
        "stood_still = False",
        (f"{STORAGES_SWEEPS_TESTS}::test_a_mark_that_stands_still_is_behind_since_the_first_append_it_missed",),
    ),
    Mutant(
        "memory: inboxes are offered to other code only",
        STORAGES_MEMORY,
        "if instance.inbox and instance.record.fingerprint not in (fingerprint, BY_HAND):",
        "if instance.inbox:",
        (f"{STORAGES_SWEEPS_TESTS}::test_a_change_of_the_fingerprint_changes_who_is_offered_it",),
    ),
    Mutant(
        "sqlite: the turns are compared",
        STORAGES_SQLITE,
        ' AND turns = :old_turns AND inbox_version = :old_inbox"',
        ' AND inbox_version = :old_inbox"',
        (f"{STORAGES_APPEND_TESTS}::test_an_append_that_expects_another_version_loses_and_changes_nothing",),
    ),
    Mutant(
        "sqlite: the inbox's version is compared",
        STORAGES_SQLITE,
        ' AND turns = :old_turns AND inbox_version = :old_inbox"',
        ' AND turns = :old_turns"',
        (f"{STORAGES_RUNS_TESTS}::test_an_inbox_that_changed_loses_the_race_of_who_did_not_see_it",),
    ),
    Mutant(
        "sqlite: the run is compared",
        STORAGES_SQLITE,
        'HOLDS = f"{OF_ID} AND run = :old_run AND',
        'HOLDS = f"{OF_ID} AND',
        (f"{STORAGES_APPEND_TESTS}::test_an_append_that_expects_another_version_loses_and_changes_nothing",),
    ),
    Mutant(
        "sqlite: who goes on as before compares too",
        STORAGES_SQLITE,
        "fingerprint = ? WHERE workflow_id = ? AND run = ? AND turns = ?",
        "fingerprint = ? WHERE workflow_id = ? AND run = ? AND turns >= ?",
        (f"{STORAGES_APPEND_TESTS}::test_an_append_that_expects_another_version_loses_and_changes_nothing",),
    ),
    Mutant(
        "sqlite: who is behind is not purged",
        STORAGES_SQLITE,
        "AND expires IS NOT NULL AND behind IS NULL",
        "AND expires IS NOT NULL",
        (f"{STORAGES_SWEEPS_TESTS}::test_an_instance_whose_mark_is_behind_is_not_purged",),
    ),
    Mutant(
        "sqlite: who moved is not purged",
        STORAGES_SQLITE,
        "DELETE FROM heads WHERE workflow_id = ? AND run = ? AND turns = ?",
        "DELETE FROM heads WHERE workflow_id = ? AND run = ? AND turns >= ? - 1",
        (f"{STORAGES_SWEEPS_TESTS}::test_what_went_on_since_it_was_listed_is_not_removed",),
    ),
    Mutant(
        "sqlite: a claimed timer is its claimer's",
        STORAGES_SQLITE,
        '" AND claimed_until <= ? ORDER BY due',
        '" AND ? ORDER BY due',
        (f"{STORAGES_TIMERS_TESTS}::test_a_timer_that_is_born_claimed_is_left_to_its_claimer",),
    ),
    Mutant(
        "sqlite: an inbox keeps an item once and in its first place",
        STORAGES_SQLITE,
        "INSERT OR IGNORE INTO inbox",
        "INSERT OR REPLACE INTO inbox",
        (f"{STORAGES_RUNS_TESTS}::test_the_inbox_keeps_an_item_once_per_key_and_in_its_first_place",),
    ),
    Mutant(
        "sqlite: a second start loses",
        STORAGES_SQLITE,
        ":started, :ended, :labels, :expires, :behind) ON CONFLICT (workflow_id) DO NOTHING",
        ":started, :ended, :labels, :expires, :behind) ON CONFLICT (workflow_id) DO UPDATE SET token = token",
        (f"{STORAGES_APPEND_TESTS}::test_a_second_start_loses_even_with_the_same_run",),
    ),
)
