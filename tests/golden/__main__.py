"""Writes the golden histories that are not there yet: `python -m tests.golden`. One that is there is never changed."""

import click

from tests.golden.made import HERE, make, missing
from tests.golden.plays import PLAYS

for name in missing(PLAYS):
    text = make(PLAYS[name])
    with (HERE / f"{name}.jsonl").open("xb") as file:
        file.write(text)
    click.echo(f"{name}.jsonl is written: look at it, and commit it")
