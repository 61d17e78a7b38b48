"""The story of a run: its logical steps as a tree, told from the state record and the turns alone.

What was asked for, how each attempt went, what came back, what is waited for now, and why. Pure: no I/O, no
clock. `show`, `why`, their JSON and every other view of a run are views of this tree.
"""

from infinitic.story.nodes import Attempt, Branch, Kind, Method, Node, Note, Status, Step, Story, Together
from infinitic.story.reasons import Link, NotTakenUp, Reasons, Wanted, explain
from infinitic.story.telling import tell

__all__ = [
    "Attempt",
    "Branch",
    "Kind",
    "Link",
    "Method",
    "Node",
    "NotTakenUp",
    "Note",
    "Reasons",
    "Status",
    "Step",
    "Story",
    "Together",
    "Wanted",
    "explain",
    "tell",
]
