"""The release before, which still lives in places while the next is rolled out: it cannot follow all that that began.

In a file of its own as the broken one: a release is told by the source of its workflows' module.
"""

from tests.simulation import programs


class Play(programs.Play):
    """Knows of no patch."""

    asks = False
