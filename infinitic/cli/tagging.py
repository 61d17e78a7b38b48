"""`tag`: what an instance is found by, changed while it runs."""

from __future__ import annotations

from datetime import timedelta

import click

from infinitic.cli.calling import PATIENCE
from infinitic.cli.completing import complete_id
from infinitic.cli.console import output
from infinitic.cli.settings import Settings, everywhere, open_client, when_known
from infinitic.cli.values import duration


class TagCommand(click.Command):
    """Takes `-old` for a change, and not for the options -o, -l and -d."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As any command, after the changes have been put aside."""
        options = {name for one in self.get_params(ctx) for name in one.opts}
        changes = [one for one in args if _is_change(one) and one not in options]
        ctx.meta[__name__] = changes
        return super().parse_args(ctx, [one for one in args if one not in changes])


def _is_change(arg: str) -> bool:
    return len(arg) > 1 and arg[0] in "+-" and not arg.startswith("--")


@click.command(cls=TagCommand, options_metavar="[OPTIONS] +TAG... -TAG...")
@click.argument("workflow_id", metavar="ID", shell_complete=complete_id)
@click.option("--timeout", type=duration, default=PATIENCE, help=f"How long to wait at most; {PATIENCE} unless given.")
@everywhere(hidden=True)
@click.pass_context
def tag(ctx: click.Context, workflow_id: str, timeout: timedelta) -> None:
    """Give an instance tags, and take some from it.

    Done once the instance ID has the request.

    \b
    Example:
      infinitic tag ada +vip -new
    """
    settings = ctx.find_object(Settings) or Settings()
    changes: list[str] = ctx.meta[__name__]
    if not changes:
        raise click.UsageError("Say which tags: +vip gives one, -new takes one.", ctx)
    added, removed = ([one[1:] for one in changes if one[0] == sign] for sign in "+-")
    with open_client(settings) as client:
        when_known(lambda: client.get(workflow_id))
        client.tag(workflow_id, add=added, remove=removed, timeout=timeout)
    output().print(f"{workflow_id} has the change of its tags", soft_wrap=True)
