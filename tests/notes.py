"""What tests note beside their outcome, in `user_properties`: that travels from whichever process ran them."""

from typing import Any

import pytest


def noted(name: str, terminal: pytest.TerminalReporter) -> list[Any]:
    """All that was noted by this name, in the order in which the tests ended."""
    reports = [one for some in terminal.stats.values() for one in some if getattr(one, "when", None) == "call"]
    return [value for report in reports for key, value in report.user_properties if key == name]
