"""The public names."""

import dsl


def test_every_public_name_is_there_once():
    assert dsl.__all__ == sorted(set(dsl.__all__), key=lambda name: (name.lower() == name, name))
    assert [name for name in dsl.__all__ if not hasattr(dsl, name)] == []


def test_every_error_is_public():
    raised = {
        name for name, one in vars(dsl.errors).items() if isinstance(one, type) and issubclass(one, BaseException)
    }

    assert raised - set(dsl.__all__) == set()


def test_every_public_thing_promises_something():
    silent = [name for name in dsl.__all__ if not getattr(getattr(dsl, name), "__doc__", None)]

    assert silent == ["Flow"]  # an alias cannot hold a docstring
