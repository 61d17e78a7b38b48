"""Guards of batches and of what a change writes, sends and keeps."""

from tests.rules.mutant import Mutant

BATCHES = "infinitic/worker/batches.py"
CHANGES = "infinitic/worker/changes.py"
ATTEMPT_RULES_TESTS = "tests/rules/test_attempt_rules.py"
COMMIT_RULES_TESTS = "tests/rules/test_commit_rules.py"
END_RULES_TESTS = "tests/rules/test_end_rules.py"
INBOX_RULES_TESTS = "tests/rules/test_inbox_rules.py"
MARK_RULES_TESTS = "tests/rules/test_mark_rules.py"
REPLAY_RULES_TESTS = "tests/rules/test_replay_rules.py"
TIMER_RULES_TESTS = "tests/rules/test_timer_rules.py"
WORKER_BATCHES_TESTS = "tests/worker/test_batches.py"

MUTANTS = (
    Mutant(
        "a timer from memory that loses is dropped with the cached instance",
        BATCHES,
        ("self.pending.extendleft(reversed([one for one in change.deliveries if one.receipt is not None]))"),
        "self.pending.extendleft(reversed(change.deliveries))",
        (f"{WORKER_BATCHES_TESTS}::test_a_timer_of_a_stale_worker_is_dropped_and_its_row_remains_for_the_sweep",),
    ),
    Mutant(
        "after trouble what was applied is dropped from the cache",
        BATCHES,
        (
            "            self.cache.drop(change.workflow_id)\n"
            "            change.discard()\n"
            "            self.pending.extendleft(reversed([one for one in change.deliveries if one.topic]))"
        ),
        ("            self.pending.extendleft(reversed([one for one in change.deliveries if one.topic]))"),
        (f"{END_RULES_TESTS}::test_a_run_that_goes_on_takes_signals_senders_tags_and_waiters_with_it",),
    ),
    Mutant(
        "after trouble the inbox's messages are not taken for such as came",
        BATCHES,
        "[one for one in change.deliveries if one.topic]",
        "[one for one in change.deliveries]",
        (f"{INBOX_RULES_TESTS}::test_an_inbox_that_is_drained_with_trouble_is_drained_once",),
    ),
    Mutant(
        "after trouble what came stays in hand",
        BATCHES,
        (
            "            self.pending.extendleft(reversed([one for one in change.deliveries if one.topic]))  "
            "# not the inbox's\n"
        ),
        "",
        (f"{COMMIT_RULES_TESTS}::test_a_lost_reply_to_an_append_that_had_landed_costs_nothing",),
    ),
    Mutant(
        "after trouble what was not applied yet stays in hand",
        BATCHES,
        ("            self.pending.extendleft(reversed(work.deliveries))\n"),
        ("            pass\n"),
        (f"{WORKER_BATCHES_TESTS}::test_trouble_with_one_instance_does_not_undo_the_others",),
    ),
    Mutant(
        "an instance that the storage failed half way is dropped",
        BATCHES,
        ("                self.cache.drop(work.workflow_id)  # it may be half moved\n"),
        "",
        (f"{WORKER_BATCHES_TESTS}::test_after_trouble_in_the_middle_of_a_work_nothing_is_acknowledged_without_effect",),
    ),
    Mutant(
        "no instance takes more than its share of a batch",
        BATCHES,
        "(work.deliveries if len(work.deliveries) < SHARE else later).append(delivery)",
        "work.deliveries.append(delivery)",
        (f"{WORKER_BATCHES_TESTS}::test_no_instance_takes_more_than_its_share_of_a_batch_and_order_is_kept",),
    ),
    Mutant(
        "nothing is evicted before its mark is written",
        BATCHES,
        ("            self.flush_marks(excess)\n"),
        "",
        (f"{MARK_RULES_TESTS}::test_an_instance_whose_mark_cannot_be_written_is_not_evicted",),
    ),
    Mutant(
        "who lost an instance forgets it when its mark says so",
        BATCHES,
        ("            self.cache.drop(workflow_id)\n        for workflow_id in wanted"),
        ("            pass\n        for workflow_id in wanted"),
        (f"{MARK_RULES_TESTS}::test_a_worker_that_lost_an_instance_does_not_move_its_mark",),
    ),
    Mutant(
        "the mark of an instance that is not kept is written at once",
        BATCHES,
        "self.unkept += [(change.workflow_id, held)] if moved else []",
        "pass",
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "a mark that cannot be written keeps nobody else's message",
        BATCHES,
        ("            self._won(change) if next(won) else self._lost(change)\n"),
        ("            self._won(change) if next(won) else self._lost(change)\n            self._mark_sent()\n"),
        (f"{MARK_RULES_TESTS}::test_trouble_with_a_mark_keeps_no_message_of_another_instance",),
    ),
    Mutant(
        "what was sent once is not above the mark any more",
        BATCHES,
        ("        held.unsent = ()\n"),
        "",
        (f"{COMMIT_RULES_TESTS}::test_a_lost_reply_to_an_append_that_had_landed_costs_nothing",),
    ),
    Mutant(
        "what hung is committed before more of its instance is loaded",
        BATCHES,
        (
            "            if self.done or self.apart:\n"
            "                self._commit()  # what hung, before more of the same instance is loaded; "
            "what none can spoil\n"
        ),
        "",
        (f"{COMMIT_RULES_TESTS}::test_no_instance_is_written_twice_in_one_batch",),
    ),
    Mutant(
        "after trouble each instance is committed by itself",
        BATCHES,
        "        self.apart = self.apart or bool(self.done)\n",
        "",
        (f"{WORKER_BATCHES_TESTS}::test_what_a_storage_does_not_take_of_one_instance_keeps_no_other_waiting",),
    ),
    Mutant(
        "a late outcome of code that was given up is discarded",
        BATCHES,
        (
            "        if self.stuck.get(work.workflow_id) is not work:\n"
            "            if work.change is not None:\n"
            "                work.change.discard()\n"
            "            return\n"
            "        del self.stuck[work.workflow_id]"
        ),
        "        self.stuck.pop(work.workflow_id, None)",
        (f"{REPLAY_RULES_TESTS}::test_an_outcome_that_comes_after_its_instance_was_given_up_is_discarded",),
    ),
    Mutant(
        "what comes for code that hangs waits for it",
        BATCHES,
        (
            "            if workflow_id in self.stuck:\n"
            "                self.stuck[workflow_id].deliveries.append(delivery)\n"
            "                continue\n"
        ),
        "",
        (f"{REPLAY_RULES_TESTS}::test_an_outcome_that_comes_after_its_instance_was_given_up_is_discarded",),
    ),
    Mutant(
        "an instance that a query spoilt is not kept",
        BATCHES,
        "if change.instance is None or change.spoilt:",
        "if change.instance is None:",
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "keys of held instances are not let go",
        BATCHES,
        "[one for one in self.left if one not in self.cache and one not in wanted]",
        "self.left",
        (f"{WORKER_BATCHES_TESTS}::test_a_query_that_spoils_the_state_harms_nothing_that_came_with_it",),
    ),
    Mutant(
        "a step that lost its race is applied again",
        BATCHES,
        "self._won(change) if next(won) else self._lost(change)",
        "(self._won if next(won) or True else self._lost)(change)",
        (f"{COMMIT_RULES_TESTS}::test_who_loses_the_race_publishes_nothing_and_applies_the_event_to_what_there_is",),
    ),
    Mutant(
        "who takes an instance over holds its timers",
        BATCHES,
        "for row in (*held.timers, *change.timers_set.values()):",
        "for row in change.timers_set.values():",
        (f"{WORKER_BATCHES_TESTS}::test_who_takes_an_instance_over_holds_its_timers_too",),
    ),
    Mutant(
        "timers are held by whom they were born claimed",
        BATCHES,
        "if row.claimed_until and (row.run, row.position) not in change.timers_cleared:",
        "if not row:",
        (f"{ATTEMPT_RULES_TESTS}::test_the_success_of_a_former_attempt_settles_and_those_after_it_change_nothing",),
    ),
    Mutant(
        "the mark of a new instance begins with its first run",
        CHANGES,
        "self.rows[0].run if self.rows else version.run",
        "version.run",
        (f"{MARK_RULES_TESTS}::test_outputs_of_an_instance_that_goes_on_as_new_at_once_are_sent_by_the_next_worker",),
    ),
    Mutant(
        "the mark passes no turn as it is persisted",
        CHANGES,
        ("            return self.held.mark\n        return Mark(self.rows"),
        ("            return Mark(version.run, version.turns)\n        return Mark(self.rows"),
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "what is above the mark is published with the next event",
        CHANGES,
        "self.outputs: list[Outgoing] = [*held.unsent] if held is not None else []",
        "self.outputs: list[Outgoing] = []",
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "timers that were set in the batch in which the run ends are not written",
        CHANGES,
        (
            "        for key in [key for key in self.timers_set if key[0] == run]:\n"
            "            del self.timers_set[key]\n"
        ),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_nobody_awaits_when_its_run_ends_is_gone",),
    ),
    Mutant(
        "a timer that was set and cancelled in one batch is not written",
        CHANGES,
        ("        self.timers_set.pop((run, position), None)\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_lost_is_cleared_with_the_turn_that_it_lost_by",),
    ),
    Mutant(
        "a timer that is set anew outlives the mark of its former firing",
        CHANGES,
        ("        self.fired = [one for one in self.fired if one[1:] != key]\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_is_set_anew_outlives_the_mark_that_passes_its_former_firing",),
    ),
    Mutant(
        "timers due soon are born claimed",
        CHANGES,
        "held = due + HELD_LONGER if due - now <= HELD_AHEAD else 0",
        "held = 0",
        (f"{ATTEMPT_RULES_TESTS}::test_the_success_of_a_former_attempt_settles_and_those_after_it_change_nothing",),
    ),
    Mutant(
        "timers that lie far ahead are left to the sweep",
        CHANGES,
        "held = due + HELD_LONGER if due - now <= HELD_AHEAD else 0",
        "held = due + HELD_LONGER",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_a_sweep_has_claimed_is_left_to_it_and_its_due_never_moves",),
    ),
    Mutant(
        "any sweep may take a timer that is 300 ms overdue",
        CHANGES,
        "HELD_LONGER = 300_000",
        "HELD_LONGER = 900_000_000",
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "a fired timer's row stays until its turn's outputs are sent",
        CHANGES,
        "confirmed = self._confirmed(mark) if marks else",
        "confirmed = [*self._confirmed(mark), *(one[1:] for one in self.fired)] if marks else",
        (f"{TIMER_RULES_TESTS}::test_a_timers_turn_whose_worker_died_before_publishing_is_sent_by_the_next_append",),
    ),
    Mutant(
        "a fired timer's row goes with the next append",
        CHANGES,
        "timers_cleared=tuple({**self.timers_cleared, **dict.fromkeys(confirmed)}),",
        "timers_cleared=tuple(self.timers_cleared),",
        (f"{END_RULES_TESTS}::test_of_a_run_that_has_ended_nothing_comes_after_but_what_it_had_asked_for",),
    ),
    Mutant(
        "the end of a run clears its timers",
        CHANGES,
        ("        self.runs_ended.append(run)\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_nobody_awaits_when_its_run_ends_is_gone",),
    ),
    Mutant(
        "an ended run with commands under way waits longer for its purge",
        CHANGES,
        "record.updated + kept * (2 if record.late else 1)",
        "record.updated + kept",
        (f"{END_RULES_TESTS}::test_an_ended_run_waits_for_what_it_had_asked_for_one_retention_longer",),
    ),
    Mutant(
        "a failed instance's events wait in its inbox",
        CHANGES,
        "record.status not in (*OPEN, FAILED) else None",
        "record.status not in OPEN else None",
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "a client is told once of an end",
        CHANGES,
        ("            if (client, call_id) not in told:\n"),
        ("            if True:\n"),
        (f"{END_RULES_TESTS}::test_a_client_that_started_a_run_and_asks_for_it_is_told_once",),
    ),
    Mutant(
        "every change expects the version that it was made of",
        CHANGES,
        "return self.held.version if self.held is not None else None",
        "return self.version if self.held is not None else None",
        (f"{ATTEMPT_RULES_TESTS}::test_the_success_of_a_former_attempt_settles_and_those_after_it_change_nothing",),
    ),
)
