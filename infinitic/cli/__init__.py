"""The command `infinitic`: click and rich over client, worker and storage."""

from infinitic.cli.commands import program


def main() -> None:
    """Run the command line of this process, and end the process with its exit code."""
    program.main(prog_name="infinitic")


__all__ = ["main", "program"]
