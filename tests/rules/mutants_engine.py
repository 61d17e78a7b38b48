"""Guards of the engine: arrivals, ends, replay, comparing."""

from tests.rules.mutant import Mutant

ENGINE_ARRIVING = "infinitic/engine/arriving.py"
ENGINE_COMPLETING = "infinitic/engine/completing.py"
ENGINE_ATTEMPTS = "infinitic/engine/attempts.py"
ENGINE_COMPARING = "infinitic/engine/comparing.py"
ENGINE_CONTINUING = "infinitic/engine/continuing.py"
ENGINE_ENDING = "infinitic/engine/ending.py"
ENGINE_OPERATIONS = "infinitic/engine/operations.py"
ENGINE_ISSUING = "infinitic/engine/issuing.py"
ENGINE_READING = "infinitic/engine/reading.py"
ENGINE_REPLAYING = "infinitic/engine/replaying.py"
ENGINE_SETTLING = "infinitic/engine/settling.py"
ENGINE_TURNS = "infinitic/engine/turns.py"
ENGINE_ARRIVING_TESTS = "tests/engine/test_arriving.py"
ENGINE_COMPLETING_TESTS = "tests/engine/test_completing.py"
ENGINE_ATTEMPTS_TESTS = "tests/engine/test_attempts.py"
ENGINE_BRANCHES_TESTS = "tests/engine/test_branches.py"
ENGINE_COMPARING_TESTS = "tests/engine/test_comparing.py"
ENGINE_CONTINUING_TESTS = "tests/engine/test_continuing.py"
ENGINE_ENDING_TESTS = "tests/engine/test_ending.py"
ENGINE_ISSUING_TESTS = "tests/engine/test_issuing.py"
ENGINE_JOINS_TESTS = "tests/engine/test_joins.py"
ENGINE_PATCHES_TESTS = "tests/engine/test_patches.py"
ENGINE_REPLAYING_TESTS = "tests/engine/test_replaying.py"
ATTEMPT_RULES_TESTS = "tests/rules/test_attempt_rules.py"
COMMIT_RULES_TESTS = "tests/rules/test_commit_rules.py"
END_RULES_TESTS = "tests/rules/test_end_rules.py"
INSTANCE_RULES_TESTS = "tests/rules/test_instance_rules.py"
MARK_RULES_TESTS = "tests/rules/test_mark_rules.py"
TIMER_RULES_TESTS = "tests/rules/test_timer_rules.py"

MUTANTS = (
    Mutant(
        "a run begins once",
        ENGINE_ARRIVING,
        ("    if instance.started is not None:\n        return False\n    instance.started = event"),
        "    instance.started = event",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_second_start_changes_nothing",),
    ),
    Mutant(
        "a success while the next attempt waits clears its timer",
        ENGINE_COMPLETING,
        "        if slot.next_at:\n            instance.draft.clear_timer(slot.position)\n        _answer",
        "        _answer",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_success_while_the_next_attempt_waits_clears_its_timer",),
    ),
    Mutant(
        "a failure counts for the current attempt only",
        ENGINE_ATTEMPTS,
        "return attempt == slot.attempt and not slot.next_at",
        "return not slot.next_at",
        (f"{ATTEMPT_RULES_TESTS}::test_the_failure_of_a_former_attempt_counts_for_nothing",),
    ),
    Mutant(
        "a failure that comes twice is one retry",
        ENGINE_ATTEMPTS,
        "return attempt == slot.attempt and not slot.next_at",
        "return attempt == slot.attempt",
        (f"{ATTEMPT_RULES_TESTS}::test_a_failure_that_comes_twice_is_one_retry",),
    ),
    Mutant(
        "a completion of what is no task suspends nobody",
        ENGINE_COMPLETING,
        "    if not isinstance(slot, TaskSlot):\n",
        "    if slot is None:\n",
        (f"{ENGINE_COMPLETING_TESTS}::test_what_is_no_task_is_refused_and_nobody_is_suspended",),
    ),
    Mutant(
        "a value by hand that does not fit is refused",
        ENGINE_COMPLETING,
        "        if error is not None:\n            return Refusal",
        "        if False:\n            return Refusal",
        (f"{ENGINE_COMPLETING_TESTS}::test_a_value_that_does_not_fit_is_refused_and_the_task_stays_open",),
    ),
    Mutant(
        "a completion by hand that is repeated is known",
        ENGINE_COMPLETING,
        "    remember(instance, event.id)\n    return slot",
        "    return slot",
        (
            f"{ENGINE_COMPLETING_TESTS}::test_a_second_answer_by_hand_changes_nothing_and_a_repeat_of_the_first_is_known",
        ),
    ),
    Mutant(
        "a timer of a former attempt is ignored",
        ENGINE_ATTEMPTS,
        "elif slot.next_at and slot.attempt == event.attempt:",
        "elif slot.next_at:",
        (f"{TIMER_RULES_TESTS}::test_a_timer_of_an_attempt_that_is_over_is_nobodys",),
    ),
    Mutant(
        "a deadline that was moved does not pass at its old time",
        ENGINE_ATTEMPTS,
        "        if instance.at < deadlines.get(slash + which, FAR):",
        "        if slash + which not in deadlines:",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_each_heartbeat_moves_the_deadline_and_the_old_one_changes_nothing",),
    ),
    Mutant(
        "the row of a deadline that passed goes once what comes of it is sent",
        ENGINE_ATTEMPTS,
        "        del deadlines[slash + which]",
        "        deadlines[slash + which]",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_the_limit_in_all_holds_while_the_next_attempt_is_waited_for",),
    ),
    Mutant(
        "a delegated task whose function has returned is not listened to any more",
        ENGINE_ATTEMPTS,
        " and not slot.next_at and not slot.delegated",
        " and not slot.next_at",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_a_delegated_task_whose_function_has_returned_may_be_silent_but_not_for_ever",),
    ),
    Mutant(
        "the limits of a failed task that runs again begin anew",
        ENGINE_OPERATIONS,
        "    watch(instance, slot)\n",
        "",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_a_dispatched_task_that_broke_a_limit_runs_again_with_its_limits_begun_anew",),
    ),
    Mutant(
        "a late success is recorded once",
        ENGINE_COMPLETING,
        "        instance.overran.discard(event.position)\n",
        "        pass\n",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_a_late_success_is_recorded_once_and_nothing_comes_of_it",),
    ),
    Mutant(
        "a retry of the run begins the deadlines of its tasks anew",
        ENGINE_REPLAYING,
        "    watch_all_anew(instance)\n",
        "",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_a_retry_of_the_run_begins_the_limits_anew",),
    ),
    Mutant(
        "the end of a run clears the deadlines of what runs on",
        ENGINE_ENDING,
        "            slot.watch.deadlines.clear()\n",
        "            pass\n",
        (f"{ENGINE_ATTEMPTS_TESTS}::test_a_run_that_ends_clears_the_deadlines_of_what_runs_on",),
    ),
    Mutant(
        "a limit of the run before its retry is ignored",
        ENGINE_ARRIVING,
        "if instance.ended or event.attempt != instance.generation:",
        "if instance.ended:",
        (f"{ENGINE_REPLAYING_TESTS}::test_a_limit_of_the_run_begins_anew_and_an_old_timer_is_ignored",),
    ),
    Mutant(
        "a signal is known by its sender's id",
        ENGINE_ARRIVING,
        ("    if event.id in instance.senders:\n        return False\n    if instance.ended and instance.status"),
        "    if instance.ended and instance.status",
        (f"{COMMIT_RULES_TESTS}::test_a_lost_reply_to_an_append_that_had_landed_costs_nothing",),
    ),
    Mutant(
        "a call is known by its id",
        ENGINE_ARRIVING,
        (
            "    if event.id in instance.senders:\n"
            "        return _called_before(instance, event)\n"
            "    if instance.ended:\n"
            "        return finished(instance)\n"
            "    try:"
        ),
        "    if instance.ended:\n        return finished(instance)\n    try:",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_call_is_known_by_its_id",),
    ),
    Mutant(
        "a cancellation is known by its id and its run",
        ENGINE_ARRIVING,
        "if event.id in instance.senders or event.run not in known_runs(instance):",
        "if event.id in instance.senders:",
        (f"{INSTANCE_RULES_TESTS}::test_a_cancellation_of_the_former_run_leaves_the_next_alone",),
    ),
    Mutant(
        "an ended run takes no signal",
        ENGINE_ARRIVING,
        "    if instance.ended and instance.status != FAILED:\n        return _moves_over",
        "    if False:\n        return _moves_over",
        (f"{COMMIT_RULES_TESTS}::test_what_is_too_large_to_be_sent_is_the_commands_failure_and_part_of_history",),
    ),
    Mutant(
        "a failed run keeps its signals for a retry",
        ENGINE_ARRIVING,
        "if instance.ended and instance.status != FAILED:",
        "if instance.ended:",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_failed_run_keeps_answers_of_what_runs_on_as_late_turns",),
    ),
    Mutant(
        "an ended run takes no call",
        ENGINE_ARRIVING,
        "    if instance.ended:\n        return finished(instance)\n    try:",
        "    try:",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_run_that_has_ended_takes_no_signal_no_call_and_no_cancellation",),
    ),
    Mutant(
        "the last 10,000 senders are remembered",
        ENGINE_OPERATIONS,
        "    if len(instance.senders) > SENDERS:\n        del instance.senders[next(iter(instance.senders))]\n",
        "",
        (f"{ENGINE_ARRIVING_TESTS}::test_the_last_10_000_ids_are_remembered",),
    ),
    Mutant(
        "an answer to what was never issued is never dropped",
        ENGINE_COMPLETING,
        "        raise instance.divergence\n",
        "        pass\n",
        (f"{INSTANCE_RULES_TESTS}::test_an_answer_to_what_history_never_issued_suspends_and_is_kept",),
    ),
    Mutant(
        "what a combinator lost is cancelled once",
        ENGINE_SETTLING,
        ("    if slot.status != RUNNING:\n        return\n    if isinstance(slot, Branch):"),
        "    if isinstance(slot, Branch):",
        (f"{ENGINE_BRANCHES_TESTS}::test_cancelling_what_has_ended_does_nothing",),
    ),
    Mutant(
        "a cancelled task's retry has no timer any more",
        ENGINE_SETTLING,
        " or (isinstance(slot, TaskSlot) and slot.next_at):",
        ":",
        (f"{ATTEMPT_RULES_TESTS}::test_a_task_that_is_cancelled_while_its_next_attempt_waits_has_no_timer_any_more",),
    ),
    Mutant(
        "a receive that lost swallows no signal",
        ENGINE_SETTLING,
        ("        instance.receivers[slot.channel].remove(slot)\n"),
        ("        pass\n"),
        ("tests/engine/test_receiving.py::test_a_receive_that_lost_is_asked_no_more",),
    ),
    Mutant(
        "an answer that today's types cannot read suspends",
        ENGINE_COMPLETING,
        "    elif error is not None:\n        raise instance.unreadable(slot.position, error)\n",
        "",
        (
            f"{ENGINE_ARRIVING_TESTS}::test_an_answer_that_only_today_s_types_cannot_read_is_not_raised_into_the_workflow",
        ),
    ),
    Mutant(
        "continue-as-new is an error while other methods run",
        ENGINE_CONTINUING,
        "if len(instance.methods) > 1 or branch.method.branch",
        "if branch.method.branch",
        (f"{END_RULES_TESTS}::test_continue_as_new_is_an_error_while_other_methods_run",),
    ),
    Mutant(
        "continue-as-new moves the signals that wait",
        ENGINE_CONTINUING,
        ("        signals=tuple(signal for mailbox in instance.mailboxes.values() for signal in mailbox),\n"),
        "",
        (f"{END_RULES_TESTS}::test_a_run_that_goes_on_takes_signals_senders_tags_and_waiters_with_it",),
    ),
    Mutant(
        "continue-as-new moves the sender ids",
        ENGINE_CONTINUING,
        ("        senders=tuple(instance.senders),\n"),
        "",
        (f"{END_RULES_TESTS}::test_a_run_that_goes_on_takes_signals_senders_tags_and_waiters_with_it",),
    ),
    Mutant(
        "continue-as-new moves the tags",
        ENGINE_CONTINUING,
        'tags=tuple(options.get("tags", instance.tags)),',
        'tags=tuple(options.get("tags", ())),',
        (f"{END_RULES_TESTS}::test_tags_and_the_client_that_waits_go_with_the_run",),
    ),
    Mutant(
        "continue-as-new keeps by what a parent knows the chain",
        ENGINE_CONTINUING,
        ("        first=old.first or old.run,\n"),
        ("        first=old.run,\n"),
        (f"{END_RULES_TESTS}::test_a_parent_cancels_a_child_that_has_gone_on_more_than_once",),
    ),
    Mutant(
        "continue-as-new cancels open tasks",
        ENGINE_ENDING,
        "cancelled=end.status in (CANCELLED, CONTINUED, TERMINATED)",
        "cancelled=end.status in (CANCELLED, TERMINATED)",
        (f"{ENGINE_CONTINUING_TESTS}::test_nobody_is_told_tasks_and_children_are_cancelled_and_timers_dropped",),
    ),
    Mutant(
        "the end of a run drops its timers",
        ENGINE_ENDING,
        ("    draft.timers_cleared = ()\n    draft.timers_set.clear()\n"),
        "",
        (f"{TIMER_RULES_TESTS}::test_a_timer_that_is_set_in_the_turn_that_ends_its_run_is_never_written",),
    ),
    Mutant(
        "retries of what nobody awaits go on after the end",
        ENGINE_ENDING,
        ("            draft.timers_set[slot.position] = (slot.next_at, slot.attempt)\n"),
        ("            pass\n"),
        (f"{ENGINE_ARRIVING_TESTS}::test_a_failed_run_keeps_answers_of_what_runs_on_as_late_turns",),
    ),
    Mutant(
        "a hundred ended calls are kept and the run's own",
        ENGINE_ENDING,
        "del instance.calls[next(key for key in instance.calls if key)]",
        "del instance.calls[next(iter(instance.calls))]",
        (f"{ENGINE_ENDING_TESTS}::test_of_ended_calls_the_last_hundred_are_kept_and_the_run_s_own",),
    ),
    Mutant(
        "a turn that changes nothing today diverges",
        ENGINE_REPLAYING,
        "if not changed or recorded != now or",
        "if recorded != now or",
        (f"{ENGINE_COMPARING_TESTS}::test_an_answer_that_nobody_waits_for_now_diverges",),
    ),
    Mutant(
        "another end diverges",
        ENGINE_REPLAYING,
        "if not changed or recorded != now or",
        "if not changed or",
        (f"{ENGINE_COMPARING_TESTS}::test_another_end_diverges",),
    ),
    Mutant(
        "a signal that another receive takes diverges",
        ENGINE_REPLAYING,
        " or instance.draft.settled != turn.settled:",
        ":",
        (f"{ENGINE_COMPARING_TESTS}::test_a_signal_that_another_receive_takes_now_diverges",),
    ),
    Mutant(
        "a command that is missing at the tail diverges",
        ENGINE_REPLAYING,
        ("    check_all_taken(instance)\n    recorded = turn.end"),
        "    recorded = turn.end",
        (f"{ENGINE_COMPARING_TESTS}::test_a_command_that_is_missing_now_is_named",),
    ),
    Mutant(
        "a retry voids the failed turn on replay",
        ENGINE_REPLAYING,
        "isinstance(event, Retried) and event.voids == number), None)",
        "isinstance(event, Retried) and False), None)",
        (f"{END_RULES_TESTS}::test_a_retry_voids_what_the_failed_turn_asked_for_and_keeps_what_was_asked_before",),
    ),
    Mutant(
        "what late turns have sent is not sent again",
        ENGINE_REPLAYING,
        ("        made.remove(send)\n"),
        ("        pass\n"),
        (f"{ENGINE_REPLAYING_TESTS}::test_what_late_turns_have_sent_is_not_sent_again",),
    ),
    Mutant(
        "a retry arms the timers again",
        ENGINE_REPLAYING,
        ("    _rearm(instance)\n    return finished"),
        "    return finished",
        (f"{ENGINE_REPLAYING_TESTS}::test_a_limit_of_the_run_begins_anew_and_an_old_timer_is_ignored",),
    ),
    Mutant(
        "a retry is known by its id",
        ENGINE_REPLAYING,
        "[*(turn.event.id for turn in retries), event.id]",
        "[]",
        (f"{ENGINE_REPLAYING_TESTS}::test_each_retry_is_known_by_its_id",),
    ),
    Mutant(
        "a retry that was followed by another one is known by its id",
        ENGINE_REPLAYING,
        "[*(turn.event.id for turn in retries), event.id]",
        "[event.id]",
        (f"{ENGINE_REPLAYING_TESTS}::test_each_retry_is_known_by_its_id",),
    ),
    Mutant(
        "what came late for a failed run comes late once more when its retry fails at once",
        ENGINE_REPLAYING,
        ("        return ARRIVE[type(event)](instance, event) is not None\n"),
        "        return True\n",
        (
            f"{ENGINE_REPLAYING_TESTS}::test_a_signal_to_a_failed_run_is_known_after_a_retry_that_fails_at_once_too",
            f"{ENGINE_REPLAYING_TESTS}::test_an_answer_that_came_late_is_known_after_a_retry_that_fails_at_once_too",
        ),
    ),
    Mutant(
        "what another instance dropped is not cleaned up as this one",
        "infinitic/engine/ambient.py",
        ("        gc.disable()\n"),
        "",
        ("tests/engine/test_ambient.py::test_what_another_instance_dropped_is_not_cleaned_up_as_this_one",),
    ),
    Mutant(
        "a retry resets the policy only",
        ENGINE_REPLAYING,
        ("        slot.uncounted = slot.attempt\n"),
        ("        slot.uncounted = 0\n"),
        (f"{ATTEMPT_RULES_TESTS}::test_attempt_numbers_never_start_again_and_the_task_keeps_its_id",),
    ),
    Mutant(
        "time never goes back",
        ENGINE_TURNS,
        "Draft(tags=instance.tags), LIVE, max(before, at)",
        "Draft(tags=instance.tags), LIVE, at",
        (f"{INSTANCE_RULES_TESTS}::test_the_time_of_a_turn_is_never_before_that_of_the_turn_before",),
    ),
    Mutant(
        "what changes nothing leaves the time",
        ENGINE_TURNS,
        ("    instance.at = before\n    return result"),
        "    return result",
        (f"{ENGINE_ARRIVING_TESTS}::test_a_repeat_of_any_event_changes_nothing",),
    ),
    Mutant(
        "another position diverges",
        ENGINE_COMPARING,
        "issued is None or issued.position != asked.position or not agrees",
        "issued is None or not agrees",
        (f"{ENGINE_COMPARING_TESTS}::test_the_same_command_of_another_branch_diverges",),
    ),
    Mutant(
        "other arguments diverge",
        ENGINE_COMPARING,
        "return known is not None and known == canonical(asked, declared)",
        "return True",
        (f"{END_RULES_TESTS}::test_a_retry_voids_what_the_failed_turn_asked_for_and_keeps_what_was_asked_before",),
    ),
    Mutant(
        "another kind or name diverges",
        ENGINE_COMPARING,
        "if type(recorded) is not type(asked) or kind.identity(recorded) != kind.identity(asked):",
        "if type(recorded) is not type(asked):",
        (f"{ENGINE_COMPARING_TESTS}::test_each_command_replays_itself_and_no_other",),
    ),
    Mutant(
        "pickled values are not compared",
        ENGINE_COMPARING,
        "if recorded == asked or recorded.startswith(WRAPPED) or asked.startswith(WRAPPED):",
        "if recorded == asked:",
        (f"{ENGINE_COMPARING_TESTS}::test_arguments_that_neither_side_can_read_are_told_apart",),
    ),
    Mutant(
        "what failed when it was recorded goes by the record",
        ENGINE_COMPARING,
        "        return recorded.failure is not None  # it failed",
        "        return False  # it failed",
        (f"{ENGINE_COMPARING_TESTS}::test_a_recorded_failure_is_what_replay_goes_by",),
    ),
    Mutant(
        "what is too large is the command's failure",
        ENGINE_ISSUING,
        ("            if limit and len(data) > limit:\n"),
        ("            if False:\n"),
        (f"{COMMIT_RULES_TESTS}::test_what_is_too_large_to_be_sent_is_the_commands_failure_and_part_of_history",),
    ),
    Mutant(
        "what was sent once is not measured on replay",
        ENGINE_ISSUING,
        ("        if instance.draft.recorded is None:\n            if limit"),
        ("        if True:\n            if limit"),
        (f"{ENGINE_ISSUING_TESTS}::test_what_is_too_large_is_the_command_s_failure_and_only_when_it_is_new",),
    ),
    Mutant(
        "a command that changed is issued under the next generation",
        ENGINE_ISSUING,
        'position=f"{position}~{instance.generation}"',
        "position=position",
        (f"{END_RULES_TESTS}::test_a_retry_voids_what_the_failed_turn_asked_for_and_keeps_what_was_asked_before",),
    ),
    Mutant(
        "an unchanged command of a failed turn carries on",
        ENGINE_ISSUING,
        "if old is not None and same(old, asked, declared):",
        "if False:",
        (f"{ENGINE_REPLAYING_TESTS}::test_unchanged_commands_of_the_failed_turn_carry_on_without_being_sent_again",),
    ),
    Mutant(
        "what history keeps of a patch is passed over",
        ENGINE_COMPARING,
        "type(commands[draft.taken]) is history.PatchIssued",
        "False",
        (f"{ENGINE_PATCHES_TESTS}::test_once_the_code_asks_no_more_what_history_keeps_of_it_is_passed_over",),
    ),
    Mutant(
        "a run that was here before a patch has it not",
        "infinitic/engine/ambient.py",
        "patches[patch] = recorded is None or patch in",
        "patches[patch] = True or patch in",
        (f"{ENGINE_PATCHES_TESTS}::test_a_run_that_was_here_before_the_change_goes_on_as_it_began",),
    ),
    Mutant(
        "an instance keeps its version",
        "infinitic/engine/programs.py",
        "return program.versions.get(record.version or 1) if",
        "return program if",
        ("tests/scenarios/test_versions.py::test_new_instances_take_the_highest_version_and_running_ones_keep_theirs",),
    ),
    Mutant(
        "a run that continues takes the highest version",
        ENGINE_CONTINUING,
        "        version=0,\n",
        "",
        ("tests/scenarios/test_versions.py::test_children_and_the_runs_that_follow_take_the_highest_version",),
    ),
)
