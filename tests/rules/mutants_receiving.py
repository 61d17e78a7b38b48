"""Guards of channels: what a receive takes, what predicates may do, what is dropped."""

from tests.rules.mutant import Mutant

ENGINE_ARRIVING = "infinitic/engine/arriving.py"
ENGINE_RECEIVING = "infinitic/engine/receiving.py"
ENGINE_REPLAYING = "infinitic/engine/replaying.py"
RECEIVING_TESTS = "tests/engine/test_receiving.py"

MUTANTS = (
    Mutant(
        "replay gives a signal to whom history says",
        ENGINE_RECEIVING,
        "_asked if instance.draft.recorded is None else _recorded",
        "_asked",
        (f"{RECEIVING_TESTS}::test_replay_goes_by_the_record_and_asks_no_predicate",),
    ),
    Mutant(
        "a buffered signal that history says was taken must be there",
        ENGINE_RECEIVING,
        "    elif issued.signal:\n        raise diverged(",
        "    elif False:\n        raise diverged(",
        (f"{RECEIVING_TESTS}::test_a_taker_that_history_does_not_know_diverges",),
    ),
    Mutant(
        "a receive that lost over the signal that is given is not asked",
        ENGINE_RECEIVING,
        "        if slot.status == RUNNING:  #",
        "        if True:  #",
        (f"{RECEIVING_TESTS}::test_a_receive_that_loses_by_the_failure_of_another_is_not_asked",),
    ),
    Mutant(
        "a predicate may not change the instance",
        ENGINE_RECEIVING,
        "only_reading(instance, changed) if receive.where is not None else nullcontext()",
        "nullcontext()",
        (f"{RECEIVING_TESTS}::test_a_predicate_that_changes_an_attribute_suspends_because_no_replay_would_change_it",),
    ),
    Mutant(
        "a predicate that waits for something is refused",
        ENGINE_RECEIVING,
        '    if is_flow(answer):\n        discard(answer)\n        raise ReadOnly("something to wait for")\n',
        "",
        (f"{RECEIVING_TESTS}::test_a_predicate_may_only_read",),
    ),
    Mutant(
        "replay drops what was dropped",
        ENGINE_ARRIVING,
        "_drops(instance, event.channel) if recorded is None else recorded.dropped",
        "_drops(instance, event.channel)",
        (f"{RECEIVING_TESTS}::test_replay_drops_what_was_dropped_whatever_the_channel_is_now",),
    ),
    Mutant(
        "a retry says which signals it left in the mailbox",
        ENGINE_ARRIVING,
        "        instance.draft.settled += (NOBODY,)\n",
        "        pass\n",
        (f"{RECEIVING_TESTS}::test_after_a_retry_signals_are_offered_anew_and_its_replay_goes_by_the_record",),
    ),
    Mutant(
        "what was dropped stays dropped after a retry",
        ENGINE_REPLAYING,
        "for turn in late if turn.dropped)",
        "for turn in late if False)",
        (f"{RECEIVING_TESTS}::test_what_was_dropped_while_the_run_had_failed_stays_dropped_after_a_retry",),
    ),
    Mutant(
        "a retry keeps what today's types refuse",
        ENGINE_ARRIVING,
        "    if recorded is None and not again:\n",
        "    if recorded is None:\n",
        (f"{RECEIVING_TESTS}::test_a_signal_that_the_mended_code_cannot_read_is_kept_where_a_receive_chooses",),
    ),
    Mutant(
        "a receive that cannot read the signal that it gets has got it",
        ENGINE_RECEIVING,
        "        if not slot.receive.which:  #",
        "        if False:  #",
        (f"{RECEIVING_TESTS}::test_a_signal_that_the_mended_code_cannot_read_fails_the_receive_that_it_is_for",),
    ),
)
