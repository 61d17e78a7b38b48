"""Guards of methods: validators, queries, calls that are made again."""

from tests.rules.mutant import Mutant

ENGINE_ARRIVING = "infinitic/engine/arriving.py"
ENGINE_READING_TESTS = "tests/engine/test_reading.py"

MUTANTS = (
    Mutant(
        "a query that changes the state is refused",
        "infinitic/engine/reading.py",
        ("        if before != _image(instance):\n            raise changed()\n"),
        "",
        ("tests/rules/test_mark_rules.py::test_an_instance_that_a_query_spoilt_sends_its_outputs_once",),
    ),
    Mutant(
        "an instance that a validator changed is given up",
        ENGINE_ARRIVING,
        "spoilt=isinstance(error, ReadOnly)",
        "spoilt=False",
        (f"{ENGINE_READING_TESTS}::test_an_instance_that_a_validator_changed_is_to_be_given_up",),
    ),
    Mutant(
        "what a retry applies anew is not validated",
        ENGINE_ARRIVING,
        "if instance.draft.recorded is not None or instance.draft.again:",
        "if instance.draft.recorded is not None:",
        (f"{ENGINE_READING_TESTS}::test_what_was_accepted_is_not_validated_on_replay_nor_by_a_retry",),
    ),
    Mutant(
        "what history recorded is not validated",
        ENGINE_ARRIVING,
        "if instance.draft.recorded is not None or instance.draft.again:",
        "if instance.draft.again:",
        (f"{ENGINE_READING_TESTS}::test_what_was_accepted_is_not_validated_on_replay_nor_by_a_retry",),
    ),
    Mutant(
        "a workflow that makes a call once more is told too",
        ENGINE_ARRIVING,
        "        method.callers += (event.caller,)\n",
        "",
        (f"{ENGINE_READING_TESTS}::test_every_workflow_that_makes_a_call_while_it_runs_is_told_once",),
    ),
)
