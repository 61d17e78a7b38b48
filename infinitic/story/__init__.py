"""The story of a run: its logical steps as a tree, told from the state record and the turns alone.

What was asked for, how each attempt went, what came back, what is waited for now. Pure: no I/O, no clock.
`show`, its JSON and every other view of a run are views of this tree.
"""

from infinitic.story.nodes import Attempt, Branch, Kind, Method, Node, Note, Status, Step, Story, Together
from infinitic.story.telling import tell

__all__ = [
    "Attempt",
    "Branch",
    "Kind",
    "Method",
    "Node",
    "Note",
    "Status",
    "Step",
    "Story",
    "Together",
    "tell",
]
