"""The errors of the runtime: one tree with those of the language, and each survives pickling with its facts."""

import inspect
import pickle

import pytest

import infinitic
from infinitic import errors
from tests.dsl.test_errors import SAYS, facts, shown

EXAMPLES = [
    *(error for error, _ in SAYS),
    errors.OperatorError("it is so", "Do that."),
    errors.ConfigurationError("it is so", "Do that."),
    errors.RegistrationError("it is so"),
    errors.StorageError("it is so"),
    errors.TransportError("it is so"),
    errors.NoStorage("client.find()"),
    errors.MissingExtra("redis", "redis"),
    errors.PayloadError("no", "$.card"),
    errors.EncodeError("no", "$.card"),
    errors.DecodeError("no", "$.card"),
    errors.UntrustedPayload("no"),
    errors.NonDeterminismError("t-1", "m0.3", "sleep(5 s)", "charge(…)", "trips.py", 12),
    errors.WorkflowInUse("trip", "t-1", "running"),
    errors.UnreadableHistory("t-1", "m0.3", "expected `int`"),
    errors.Bug("it fell"),
]
CLASSES = {one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, BaseException)}
OWN = {one for one in CLASSES if one.__module__ == errors.__name__}


def test_these_are_all_errors_and_all_are_public():
    assert {type(one) for one in EXAMPLES} == CLASSES
    assert {one.__name__ for one in CLASSES} <= set(infinitic.__all__)


def test_the_picture_shows_every_error_beneath_what_it_is_a_kind_of():
    expected = {(one.__name__, one.__base__.__name__) for one in OWN if one.__base__ is not None}

    assert shown(errors) == expected | {("InfiniticError", "Exception")}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda one: type(one).__name__)
def test_an_error_survives_pickling_with_all_its_facts(error):
    assert facts(pickle.loads(pickle.dumps(error))) == facts(error)
