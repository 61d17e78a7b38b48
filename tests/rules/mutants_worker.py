"""Guards of marks, loading, timers, sweeps and routing."""

from tests.rules.mutant import Mutant

BATCHES = "infinitic/worker/batches.py"
BROADCASTING = "infinitic/worker/broadcasting.py"
ENGINE_TAGS = "infinitic/engine/tags.py"
HELD = "infinitic/worker/held.py"
LOADING = "infinitic/worker/loading.py"
MARKS = "infinitic/worker/marks.py"
REGISTRY = "infinitic/worker/registry.py"
REPORTING = "infinitic/worker/reporting.py"
ROUTING = "infinitic/worker/routing.py"
SWEEPS = "infinitic/worker/sweeps.py"
TIMERS = "infinitic/worker/timers.py"
BROADCASTING_TESTS = "tests/worker/test_broadcasting.py"
ATTEMPT_RULES_TESTS = "tests/rules/test_attempt_rules.py"
COMMIT_RULES_TESTS = "tests/rules/test_commit_rules.py"
END_RULES_TESTS = "tests/rules/test_end_rules.py"
INBOX_RULES_TESTS = "tests/rules/test_inbox_rules.py"
INSTANCE_RULES_TESTS = "tests/rules/test_instance_rules.py"
MARK_RULES_TESTS = "tests/rules/test_mark_rules.py"
TIMER_RULES_TESTS = "tests/rules/test_timer_rules.py"
WORKER_BATCHES_TESTS = "tests/worker/test_batches.py"
WORKER_SWEEPS_TESTS = "tests/worker/test_sweeps.py"
WORKER_TIMERS_TESTS = "tests/worker/test_timers.py"

MUTANTS = (
    Mutant(
        "a worker tells the storage's time from its first turn on",
        "infinitic/worker/batches.py",
        "        self.skew = backend.storage.now() - clock() if registry.programs else 0\n",
        "        self.skew = 0\n",
        ("tests/rules/test_timer_rules.py::test_a_worker_tells_the_storages_time_from_its_first_turn_on",),
    ),
    Mutant(
        "the mark that is written alone clears the rows of fired timers",
        MARKS,
        ("        timers_cleared=tuple((run, position) for _, run, position in held.fired),\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_fired_timers_row_goes_with_the_mark_though_its_run_goes_on",),
    ),
    Mutant(
        "a mark that is written alone keeps the date of the purge",
        MARKS,
        ("        expires=expiry(held.record, retention),\n"),
        "",
        (f"{WORKER_BATCHES_TESTS}::test_an_expired_instance_keeps_its_date_when_its_mark_is_written",),
    ),
    Mutant(
        "the mark moves with receipts only, for who wrote them",
        MARKS,
        "held.mark = Mark(change.version.run, change.version.turns)",
        "held.mark = held.mark",
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "what this very code could not do is not tried again",
        LOADING,
        "if stored.record.status == SUSPENDED and stored.record.fingerprint in (highest.served, BY_HAND):",
        "if False:",
        (f"{WORKER_SWEEPS_TESTS}::test_what_this_very_code_could_not_continue_it_does_not_try_after_a_restart_either",),
    ),
    Mutant(
        "tasks are published again only while they are open",
        LOADING,
        'if message.message.kind != "task" or message.message.position not in answered or turn.sends:',
        "if True:",
        (f"{MARK_RULES_TESTS}::test_what_was_answered_is_not_sent_again_by_who_loads_it",),
    ),
    Mutant(
        "a retry is published again though its position has an answer",
        LOADING,
        " or message.message.position not in answered or turn.sends:",
        " or message.message.position not in answered:",
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "nothing below the mark is published again",
        LOADING,
        ("        if number < sent:\n            continue\n"),
        "",
        (f"{COMMIT_RULES_TESTS}::test_a_fan_out_of_a_thousand_whose_owner_changes_half_way_loses_and_doubles_nothing",),
    ),
    Mutant(
        "a loader publishes the former run's outputs",
        LOADING,
        "for row in (*stored.unsent, *stored.turns):",
        "for row in stored.turns:",
        (f"{MARK_RULES_TESTS}::test_outputs_of_an_instance_that_goes_on_as_new_at_once_are_sent_by_the_next_worker",),
    ),
    Mutant(
        "the timers of an instance that is taken over are known",
        LOADING,
        "held.timers, held.turns = stored.timers, stored.turns",
        "held.turns = stored.turns",
        (f"{WORKER_BATCHES_TESTS}::test_who_takes_an_instance_over_holds_its_timers_too",),
    ),
    Mutant(
        "a retry that is published again says why the attempt before failed",
        LOADING,
        ("        if position in found:\n            found[position] = found[position].after(turn.event)\n"),
        "",
        (f"{ATTEMPT_RULES_TESTS}::test_a_retry_is_made_whoever_dies_between_the_attempts",),
    ),
    Mutant(
        "a former run is read whole though the mark is in its middle",
        LOADING,
        "rows if rows[0].number == 0 else history(run)",
        "rows",
        (f"{END_RULES_TESTS}::test_a_run_that_goes_on_takes_signals_senders_tags_and_waiters_with_it",),
    ),
    Mutant(
        "the cache is bounded by count",
        HELD,
        "if count <= self._limit and weight <= self._most:",
        "if weight <= self._most:",
        (f"{MARK_RULES_TESTS}::test_an_instance_whose_mark_cannot_be_written_is_not_evicted",),
    ),
    Mutant(
        "the cache is bounded by weight",
        HELD,
        "if count <= self._limit and weight <= self._most:",
        "if count <= self._limit:",
        (f"{WORKER_TIMERS_TESTS}::test_heavy_instances_are_in_excess_before_their_number_is",),
    ),
    Mutant(
        "what is used last is evicted last",
        HELD,
        ("            self._held.move_to_end(workflow_id)\n        return held"),
        ("            pass\n        return held"),
        (f"{WORKER_TIMERS_TESTS}::test_the_least_recently_used_are_in_excess",),
    ),
    Mutant(
        "time is the storage's",
        SWEEPS,
        ("        conductor.skew = now - conductor.clock()\n"),
        "",
        (f"{INSTANCE_RULES_TESTS}::test_the_time_of_a_turn_is_the_storages",),
    ),
    Mutant(
        "the sweep offers",
        SWEEPS,
        ("        self._offer(now)\n"),
        "",
        (f"{END_RULES_TESTS}::test_a_finished_run_is_purged_after_its_retention_and_not_while_its_mark_is_behind",),
    ),
    Mutant(
        "the sweep claims at once more when a page is full",
        SWEEPS,
        "return len(due.timers) == PAGE",
        "return False",
        (f"{WORKER_SWEEPS_TESTS}::test_more_overdue_timers_than_can_be_claimed_in_time_do_not_hold_a_sweep_up",),
    ),
    Mutant(
        "one sweep does not claim for ever",
        SWEEPS,
        "if self._conductor.backend.storage.now() - began > LONG:",
        "if False:",
        (f"{WORKER_SWEEPS_TESTS}::test_more_overdue_timers_than_can_be_claimed_in_time_do_not_hold_a_sweep_up",),
    ),
    Mutant(
        "an instance is offered once in a while",
        SWEEPS,
        "if age < (UNHEARD if waits and id not in unable else OFFER_AGAIN):",
        "if False:",
        (f"{MARK_RULES_TESTS}::test_an_instance_whose_mark_is_behind_is_offered_once_in_a_while",),
    ),
    Mutant(
        "what waits although it was offered is taken here: its key may lie with other code",
        SWEEPS,
        "here = waits and (id in unable or age < REMEMBERED)",
        "here = False",
        (
            f"{WORKER_SWEEPS_TESTS}::test_an_instance_whose_key_lies_with_code_that_cannot_continue_it_goes_on_elsewhere",
        ),
    ),
    Mutant(
        "what was tried in vain hides nothing that was not",
        SWEEPS,
        "now - BEHIND, PAGE + len(unable)",
        "now - BEHIND, PAGE",
        (f"{WORKER_SWEEPS_TESTS}::test_instances_that_two_codes_cannot_continue_hide_no_other",),
    ),
    Mutant(
        "two codes that cannot go on with an instance do not try it in turn",
        LOADING,
        "    if problem:\n        return held, InfiniticError(problem)",
        "    if problem and stored.record.fingerprint == highest.served:\n        return held, InfiniticError(problem)",
        (
            f"{WORKER_SWEEPS_TESTS}::test_two_codes_that_both_cannot_continue_an_instance_do_not_try_it_in_turn_for_ever",
        ),
    ),
    Mutant(
        "signals that came too early are looked at again",
        SWEEPS,
        ("        conductor.router.again()\n"),
        "",
        (f"{WORKER_BATCHES_TESTS}::test_a_routed_signal_that_comes_before_its_instance_waits_for_it",),
    ),
    Mutant(
        "only marks that are behind for some time are offered",
        SWEEPS,
        "fingerprints, now - BEHIND, PAGE",
        "fingerprints, now + BEHIND, PAGE",
        (f"{WORKER_BATCHES_TESTS}::test_the_same_input_gives_the_same_appends_and_messages_in_the_same_order",),
    ),
    Mutant(
        "a new release of this library is new code too",
        REGISTRY,
        'f"{FORMAT}\\n{program.name}',
        'f"{program.name}',
        (
            f"{INBOX_RULES_TESTS}::test_a_higher_format_waits_for_the_release_that_reads_it_though_the_workflows_code_is_the_same",
        ),
    ),
    Mutant(
        "a timer is never early",
        TIMERS,
        "while self._heap and self._heap[0][0] <= now:",
        "while self._heap and self._heap[0][0] <= now + 1_000_000:",
        (f"{TIMER_RULES_TESTS}::test_retries_of_the_former_run_leave_no_timer_after_a_restart",),
    ),
    Mutant(
        "a timer is held once",
        TIMERS,
        ("        if key not in self._known:\n"),
        ("        if True:\n"),
        (f"{WORKER_TIMERS_TESTS}::test_a_timer_that_is_held_already_is_held_once",),
    ),
    Mutant(
        "a timer may be held again after it was due",
        TIMERS,
        ("            self._known.discard(_key(row))\n"),
        "",
        (f"{WORKER_TIMERS_TESTS}::test_a_timer_that_is_held_already_is_held_once",),
    ),
    Mutant(
        "a signal for who is not known yet waits",
        ROUTING,
        "return not delivery.message.reply_to and now - delivery.message.at < PATIENCE",
        "return False",
        (f"{WORKER_BATCHES_TESTS}::test_a_routed_signal_that_comes_before_its_instance_waits_for_it",),
    ),
    Mutant(
        "a signal waits for its instance for a while only",
        ROUTING,
        " and now - delivery.message.at < PATIENCE",
        "",
        (f"{WORKER_BATCHES_TESTS}::test_a_routed_signal_whose_instance_never_comes_is_put_away_in_the_end",),
    ),
    Mutant(
        "a routed signal goes where its instance belongs",
        ROUTING,
        "Outgoing(workflow_topic(name), message.workflow_id, replace(message, workflow=name))",
        "Outgoing(delivery.topic, message.workflow_id, message)",
        (f"{WORKER_BATCHES_TESTS}::test_routed_and_direct_messages_for_one_instance_may_come_in_one_batch",),
    ),
    Mutant(
        "what is to be sent on by a router is not given back",
        BATCHES,
        "for one in (*self.pending, *self.router.waiting)}",
        "for one in self.pending}",
        (f"{BROADCASTING_TESTS}::test_what_the_router_has_in_hand_is_given_back_to_nobody",),
    ),
    Mutant(
        "each of many gets an event under an id that is the same on every repeat",
        BROADCASTING,
        "id=id_for(broadcast.event.id, record.workflow_id)",
        "id=str(id(record))",
        (f"{BROADCASTING_TESTS}::test_a_crash_at_any_page_neither_loses_nor_doubles_anything",),
    ),
    Mutant(
        "the next page begins where the last one ended",
        BROADCASTING,
        "PAGE, broadcast.after)",
        "PAGE, broadcast.after and '0:')",
        (f"{BROADCASTING_TESTS}::test_one_page_is_served_in_a_step_and_the_rest_sent_on",),
    ),
    Mutant(
        "what was not sent is sent with the tags of its turn",
        LOADING,
        "origin_of(stored.workflow_id, first, tags[number])",
        "origin_of(stored.workflow_id, first)",
        (f"{BROADCASTING_TESTS}::test_outputs_that_were_not_sent_are_sent_with_the_tags_that_were_there",),
    ),
    Mutant(
        "tags of a turn that a retry voids count no more",
        ENGINE_TAGS,
        "if voids in begun:",
        "if voids in ():",
        ("tests/engine/test_tags.py::test_a_retry_takes_back_the_tags_of_the_turn_that_failed",),
    ),
    Mutant(
        "what waits in the inbox and cannot be read is put away under its workflow",
        REPORTING,
        "delivery.topic or workflow_topic(message.workflow)",
        "delivery.topic",
        (f"{INBOX_RULES_TESTS}::test_what_cannot_be_read_in_an_inbox_is_put_away_under_its_workflow",),
    ),
)
