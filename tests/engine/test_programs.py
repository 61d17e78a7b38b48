"""Programs: the code of one workflow as the engine runs it."""

from infinitic.engine.programs import Program
from tests.engine.given import Loyalty, child


def test_a_function_is_its_only_member_and_has_no_state():
    program = Program(child, "sha")

    assert (program.name, program.fingerprint) == ("child", "sha")
    assert program.members == {"": child}
    assert set(program.channels) == {"amounts", "confirmed"}  # its module has them
    assert program.new_state() is None


def test_a_class_has_methods_queries_channels_and_a_new_object_for_each_instance():
    program = Program(Loyalty)

    assert program.name == "Loyalty"
    assert set(program.members) == {"run", "redeem", "slowly", "balance"}
    assert set(program.channels) >= {"bonus"}
    assert program.known("query") == "(it has: balance)"
    assert program.new_state() is not program.new_state()
    assert program.member("nothing") is None
