"""Completion in shells: of commands and options by click, of workflow ids from the storage."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

from infinitic.cli.console import output
from infinitic.cli.settings import Settings, open_storage
from infinitic.records import Filter

SHELLS = ("bash", "zsh", "fish")
OFFERED = 50


def complete_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids that begin so, the newest first. Says nothing when the storage cannot be read."""
    try:
        with open_storage(context.ensure_object(Settings), "completion") as storage:
            records = storage.find(Filter(id_prefix=incomplete), OFFERED).records
    except Exception:  # a shell in the middle of a line is no place for an error
        return []
    return [CompletionItem(one.workflow_id, help=f"{one.workflow}, {one.status}") for one in records]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the code that completes words in a shell.

    Completed are commands, options and workflow ids. Needed is bash 4.4 or newer, zsh or fish.

    \b
    Put one of these into the shell's start file:
      eval "$(infinitic completion bash)"            # ~/.bashrc
      eval "$(infinitic completion zsh)"             # ~/.zshrc
      infinitic completion fish | source             # ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    source = made(context.find_root().command, {}, "infinitic", "_INFINITIC_COMPLETE").source()
    output().print(source, soft_wrap=True)
