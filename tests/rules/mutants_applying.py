"""Guards of how messages are applied: starts, inboxes, questions."""

from tests.rules.mutant import Mutant

APPLYING = "infinitic/worker/applying.py"
QUESTIONS = "infinitic/worker/questions.py"
REFUSALS = "infinitic/worker/refusals.py"
SUSPENDING = "infinitic/worker/suspending.py"
END_RULES_TESTS = "tests/rules/test_end_rules.py"
INBOX_RULES_TESTS = "tests/rules/test_inbox_rules.py"
INSTANCE_RULES_TESTS = "tests/rules/test_instance_rules.py"
MARK_RULES_TESTS = "tests/rules/test_mark_rules.py"
REPLAY_RULES_TESTS = "tests/rules/test_replay_rules.py"
TIMER_RULES_TESTS = "tests/rules/test_timer_rules.py"
WORKER_BATCHES_TESTS = "tests/worker/test_batches.py"

MUTANTS = (
    Mutant(
        "a late repeat of a timer takes no other attempt's row into the inbox",
        "infinitic/worker/suspending.py",
        " and _is_of_row(change, message.run, event, storage):",
        ":",
        (
            "tests/rules/test_inbox_rules.py"
            "::test_a_late_repeat_of_a_timer_does_not_take_the_next_attempts_row_into_the_inbox",
        ),
    ),
    Mutant(
        "what an instance had sent before it was given up is known",
        APPLYING,
        "if work.held is not None and work.held.version == stored.version:",
        "if False:",
        (f"{MARK_RULES_TESTS}::test_an_instance_that_is_suspended_by_who_has_sent_its_outputs_sends_them_once",),
    ),
    Mutant(
        "a message of a release that is too new waits in the inbox",
        APPLYING,
        "if message.format > FORMAT + 1:",
        "if False:",
        (f"{INBOX_RULES_TESTS}::test_a_timers_row_goes_into_the_inbox_with_its_event",),
    ),
    Mutant(
        "the next release's messages are read",
        APPLYING,
        "if message.format > FORMAT + 1:",
        "if message.format > FORMAT:",
        (f"{INBOX_RULES_TESTS}::test_a_release_reads_its_own_format_and_the_next",),
    ),
    Mutant(
        "an answer for another run is dropped",
        APPLYING,
        "        if not _is_meant(instance, delivery.message.run, event):\n",
        "        if False:\n",
        (f"{INSTANCE_RULES_TESTS}::test_an_answer_to_the_former_run_that_comes_after_a_restart_is_dropped",),
    ),
    Mutant(
        "a repeated start changes nothing",
        APPLYING,
        ("        if event.id in change.starts:\n            self._started_before"),
        ("        if False:\n            self._started_before"),
        (f"{INSTANCE_RULES_TESTS}::test_a_repeated_start_changes_nothing_and_sends_nothing",),
    ),
    Mutant(
        "only an ended run is restarted",
        SUSPENDING,
        "return change.status not in OPEN and event.workflow == change.workflow",
        "return event.workflow == change.workflow",
        (f"{INSTANCE_RULES_TESTS}::test_another_start_of_an_id_does_what_it_says_in_if_exists",),
    ),
    Mutant(
        "a restart is of the same workflow",
        SUSPENDING,
        "return change.status not in OPEN and event.workflow == change.workflow",
        "return change.status not in OPEN",
        (f"{INSTANCE_RULES_TESTS}::test_another_start_of_an_id_does_what_it_says_in_if_exists",),
    ),
    Mutant(
        "a child's id that belongs to somebody else is refused",
        APPLYING,
        ' or event.if_exists != "attach" or event.caller is not None:',
        ' or event.if_exists != "attach":',
        (f"{INSTANCE_RULES_TESTS}::test_a_child_whose_given_id_is_somebody_elses_raises_in_its_parent",),
    ),
    Mutant(
        "`fail` is told that the instance exists",
        APPLYING,
        ' or event.if_exists != "attach" or event.caller is not None:',
        " or event.caller is not None:",
        (f"{INSTANCE_RULES_TESTS}::test_another_start_of_an_id_does_what_it_says_in_if_exists",),
    ),
    Mutant(
        "a restart forgets the timers that the run before has just set",
        APPLYING,
        ("            change.timers_set.clear()  # of the run before, in this very change\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_retries_of_the_former_run_leave_no_timer_after_a_restart",),
    ),
    Mutant(
        "a restart clears the timers of the run before",
        APPLYING,
        ("            change.runs_ended += [change.held.version.run] if change.held is not None else []\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_retries_of_the_former_run_leave_no_timer_after_a_restart",),
    ),
    Mutant(
        "starts are remembered, runs that go on are not",
        APPLYING,
        ("            before = change.instance.at if change.instance is not None else 0\n"),
        (
            "            before = change.instance.at if change.instance is not None else 0\n"
            "            change.starts = (*change.starts, following.id)\n"
        ),
        (f"{INSTANCE_RULES_TESTS}::test_a_start_is_known_however_often_its_run_has_gone_on_as_a_new_one",),
    ),
    Mutant(
        "time goes on over runs",
        APPLYING,
        "before = change.instance.at if change.instance is not None else 0",
        "before = 0",
        (f"{INSTANCE_RULES_TESTS}::test_the_time_of_a_run_that_goes_on_is_never_before_that_of_the_run_before",),
    ),
    Mutant(
        "a repeated retry changes nothing",
        APPLYING,
        ("        if event.id in instance.senders:\n            change.refuse"),
        ("        if False:\n            change.refuse"),
        (f"{END_RULES_TESTS}::test_a_retry_that_comes_twice_is_one_though_the_run_has_failed_again",),
    ),
    Mutant(
        "a timer event that changes nothing clears its row",
        REFUSALS,
        (
            "        if not awaits_timer(instance, event.position):\n"
            "            change.timers_cleared[instance.run, event.position] = None\n"
        ),
        "        pass\n",
        (f"{TIMER_RULES_TESTS}::test_a_fired_timers_row_that_is_swept_while_the_task_it_caused_runs_changes_nothing",),
    ),
    Mutant(
        "a row that another attempt's timer holds stays",
        REFUSALS,
        "        if not awaits_timer(instance, event.position):",
        "        if True:",
        (f"{TIMER_RULES_TESTS}::test_a_timer_of_an_attempt_that_is_over_is_nobodys",),
    ),
    Mutant(
        "who suspends publishes what is above the mark",
        APPLYING,
        ("        change.outputs = [*change.held.unsent] if change.held is not None else []\n"),
        ("        change.outputs = []\n"),
        (f"{MARK_RULES_TESTS}::test_the_outputs_of_an_instance_that_is_suspended_are_sent_first",),
    ),
    Mutant(
        "a message for another workflow suspends nobody",
        APPLYING,
        (
            "            elif event is not None and message.workflow != change.workflow:\n"
            "                unknown(change, event, self._now())  # nor does this\n"
        ),
        "",
        (f"{INBOX_RULES_TESTS}::test_a_message_for_another_workflow_of_that_id_suspends_nobody",),
    ),
    Mutant(
        "a start of what exists needs no code",
        APPLYING,
        ("if isinstance(event, Started) and change.status is not None and not suspending.restarts(change, delivery):"),
        "if False:",
        (f"{INBOX_RULES_TESTS}::test_a_start_of_an_instance_that_is_suspended_is_answered_and_does_not_wait",),
    ),
    Mutant(
        "a restart that could not be applied waits in the inbox",
        APPLYING,
        " and not suspending.restarts(change, delivery):",
        ":",
        (
            f"{WORKER_BATCHES_TESTS}::test_a_restart_by_code_that_raises_what_is_no_exception_waits_for_other_code_and_stops_nobody",
        ),
    ),
    Mutant(
        "what came before a divergence has its turn",
        APPLYING,
        "if index and not change.inbox_removed:",
        "if False:",
        (f"{REPLAY_RULES_TESTS}::test_a_divergence_half_way_keeps_what_came_before_it_in_the_batch",),
    ),
    Mutant(
        "a divergence changes nothing",
        APPLYING,
        ("                change.reset()\n"),
        "",
        (f"{INBOX_RULES_TESTS}::test_a_divergence_in_the_middle_of_an_inbox_leaves_it_and_history_as_they_were",),
    ),
    Mutant(
        "after a restart by other code the inbox is read before what comes next",
        APPLYING,
        (
            "            self._apply_all(change, deliveries[:1])\n"
            "            change.rest, change.spoilt = list(deliveries[1:]), True  # its inbox goes first, whi"
            "ch was not read\n"
        ),
        ("            self._apply_all(change, deliveries)\n"),
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "a failed instance that this code cannot follow may be restarted",
        APPLYING,
        "if restarts == [] or restarts[0] > 0:",
        "if True:",
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "what has killed three workers is not applied again",
        APPLYING,
        "if any(one.deaths >= DEATHS for one in deliveries):",
        "if False:",
        (f"{INBOX_RULES_TESTS}::test_an_event_that_killed_its_worker_three_times_suspends_its_instance",),
    ),
    Mutant(
        "the inbox is drained first",
        APPLYING,
        "came = [*waits, *deliveries]",
        "came = [*deliveries, *waits]",
        (f"{INBOX_RULES_TESTS}::test_an_instance_that_was_mended_drains_its_inbox_first_and_in_order",),
    ),
    Mutant(
        "what a change leaves of an inbox stays there",
        APPLYING,
        "if change.inbox_removed and change.rest:",
        "if False:",
        (f"{WORKER_BATCHES_TESTS}::test_what_a_change_leaves_of_an_inbox_stays_there",),
    ),
    Mutant(
        "mended code takes up what it cannot follow",
        SUSPENDING,
        (
            "    if stored.record.status != FAILED or program_of(programs, stored.record) is None:\n"
            "        return None\n"
        ),
        ("    if stored.turns:\n        return None\n"),
        (f"{REPLAY_RULES_TESTS}::test_a_run_that_failed_by_a_bug_of_its_code_is_taken_up_by_mended_code",),
    ),
    Mutant(
        "a retry that history holds is no new one",
        SUSPENDING,
        "is_meant and event.id not in known:",
        "is_meant:",
        (f"{REPLAY_RULES_TESTS}::test_a_retry_of_mended_code_that_comes_twice_is_one",),
    ),
    Mutant(
        "what was drained leaves the inbox",
        APPLYING,
        ("            change.inbox_removed = tuple(item.key for item in stored.inbox)\n"),
        "",
        (f"{INBOX_RULES_TESTS}::test_a_start_that_cannot_be_applied_waits_in_the_inbox_of_an_instance_without_a_turn",),
    ),
    Mutant(
        "draining raises the inbox's version",
        APPLYING,
        "inbox + bool(change.inbox_removed or noted)",
        "inbox + bool(noted)",
        (f"{INBOX_RULES_TESTS}::test_an_instance_that_was_mended_drains_its_inbox_first_and_in_order",),
    ),
    Mutant(
        "who continues is not suspended any more",
        APPLYING,
        "if change.rows or change.inbox_removed or suspended or noted:",
        "if change.rows or change.inbox_removed or noted:",
        (
            f"{INBOX_RULES_TESTS}::test_an_instance_that_waits_for_nothing_is_not_suspended_any_more_once_its_code_is_there",
        ),
    ),
    Mutant(
        "what a client repeats is told about and never applied",
        APPLYING,
        (
            "        if AGAIN in delivery.message.headers and not isinstance(event, TaskCompleted | AttemptFailed):\n"
            "            asked_again(change, event, self._now())\n"
            "        elif isinstance"
        ),
        "        if isinstance",
        (
            f"{INSTANCE_RULES_TESTS}::test_what_a_client_repeats_because_it_heard_nothing_is_told_about_and_never_applied",
        ),
    ),
    Mutant(
        "a refusal answers the workflow that called",
        REFUSALS,
        "    if caller is not None:\n        answer = Answer(event.id",
        "    if False:\n        answer = Answer(event.id",
        (f"{INSTANCE_RULES_TESTS}::test_a_child_whose_given_id_is_somebody_elses_raises_in_its_parent",),
    ),
    Mutant(
        "an instance that is given up is suspended with what it has not sent",
        APPLYING,
        ("            held, _ = self._held(stored, problem)\n"),
        ("            held = Held(None, stored.version, stored.mark, stored.record)\n"),
        (f"{MARK_RULES_TESTS}::test_the_outputs_of_an_instance_that_is_suspended_are_sent_first",),
    ),
    Mutant(
        "a question suspends nobody",
        APPLYING,
        "if change.inbox_added or is_noted(change) or (offered and not change.known):",
        "if True:",
        (f"{INBOX_RULES_TESTS}::test_a_message_for_another_workflow_of_that_id_suspends_nobody",),
    ),
    Mutant(
        "what nobody can take is put away and not lost",
        APPLYING,
        ("            change.dead += [(one, change.problem) for one in deliveries]  # there is no inbox\n"),
        "",
        (f"{INBOX_RULES_TESTS}::test_what_nobody_can_take_and_no_inbox_can_keep_is_put_away",),
    ),
    Mutant(
        "a query of a spoilt instance is answered from a fresh one",
        APPLYING,
        (
            "            if change.spoilt:\n"
            "                change.rest = list(deliveries[index:])\n"
            "                return\n"
        ),
        "",
        (f"{WORKER_BATCHES_TESTS}::test_a_query_that_spoils_the_state_harms_nothing_that_came_with_it",),
    ),
    Mutant(
        "a query that spoils the state is told from others",
        QUESTIONS,
        ("        change.spoilt = True  # whatever it did to the state is gone with the cached instance\n"),
        "",
        (f"{MARK_RULES_TESTS}::test_an_instance_that_a_query_spoilt_sends_its_outputs_once",),
    ),
    Mutant(
        "a query of a suspended instance is told why",
        QUESTIONS,
        ("    if problem and is_meant:\n"),
        ("    if False:\n"),
        (f"{INBOX_RULES_TESTS}::test_what_cannot_be_applied_is_put_into_the_inbox_and_acknowledged",),
    ),
    Mutant(
        "a query for another workflow is told so",
        QUESTIONS,
        ("    elif instance is None or not is_meant:\n"),
        ("    elif instance is None:\n"),
        (f"{INBOX_RULES_TESTS}::test_a_message_for_another_workflow_of_that_id_suspends_nobody",),
    ),
    Mutant(
        "who asks for what has no end yet is told when it ends",
        QUESTIONS,
        ("        change.watchers.add((client, call_id))\n"),
        ("        pass\n"),
        (f"{END_RULES_TESTS}::test_who_asks_before_the_end_is_told_at_the_end_and_by_whoever_ends_it",),
    ),
    Mutant(
        "a timer's row goes into the inbox with its event",
        SUSPENDING,
        ("        change.timers_cleared[message.run, event.position] = None\n"),
        ("        pass\n"),
        (f"{INBOX_RULES_TESTS}::test_a_timers_row_goes_into_the_inbox_with_its_event",),
    ),
    Mutant(
        "attempts have keys of their own in the inbox",
        SUSPENDING,
        "/{kind}/{attempt}",
        "/{kind}",
        (f"{INBOX_RULES_TESTS}::test_each_kind_of_event_has_a_key_of_its_own_and_is_kept_once",),
    ),
    Mutant(
        "each that makes one call is kept in the inbox",
        SUSPENDING,
        "if isinstance(event, MethodCalled) and event.caller is not None:",
        "if False:",
        (
            "tests/scenarios/test_repeated_calls.py"
            "::test_workflows_that_make_one_call_of_a_suspended_instance_all_get_its_answer",
        ),
    ),
    Mutant(
        "a retry that waits in the inbox is not received yet",
        SUSPENDING,
        "| AttemptFailed | Retried):",
        "| AttemptFailed):",
        (
            "tests/scenarios/test_versions.py"
            "::test_a_retry_that_waits_for_its_version_is_received_when_that_takes_the_run_up",
        ),
    ),
    Mutant(
        "an ended instance whose code is gone is not unknown to who asks it",
        QUESTIONS,
        'change.problem or (change.lacks if instance is None else "")',
        "change.problem",
        ("tests/scenarios/test_queries.py::test_who_asks_an_ended_instance_whose_code_is_gone_is_told_that",),
    ),
    Mutant(
        "every suspension raises the inbox's version",
        SUSPENDING,
        "Version(version.run, version.turns, version.inbox + 1)",
        "version",
        (f"{INBOX_RULES_TESTS}::test_what_cannot_be_applied_is_put_into_the_inbox_and_acknowledged",),
    ),
    Mutant(
        "a failed instance stays failed",
        SUSPENDING,
        "status=SUSPENDED if record.status in OPEN else record.status,",
        "status=SUSPENDED,",
        (
            f"{INBOX_RULES_TESTS}::test_a_failed_instance_that_is_restarted_by_other_code_drains_its_inbox_before_what_comes_next",
        ),
    ),
    Mutant(
        "a suspension names the code that could not",
        SUSPENDING,
        ("        fingerprint=fingerprint,\n"),
        "",
        (f"{INBOX_RULES_TESTS}::test_what_cannot_be_applied_is_put_into_the_inbox_and_acknowledged",),
    ),
    Mutant(
        "a start that cannot be applied makes an instance",
        SUSPENDING,
        "if isinstance(event, Started) and event.workflow == change.workflow:",
        "if False:",
        (f"{INBOX_RULES_TESTS}::test_a_start_that_cannot_be_applied_waits_in_the_inbox_of_an_instance_without_a_turn",),
    ),
    Mutant(
        "the sender of what waits in an inbox is told that it was received",
        SUSPENDING,
        '        change.refuse(getattr(event, "reply_to", ""), event.id, "received", None)\n',
        "        pass\n",
        (f"{INBOX_RULES_TESTS}::test_what_cannot_be_applied_is_put_into_the_inbox_and_acknowledged",),
    ),
)
