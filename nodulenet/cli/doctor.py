"""``nodulenet doctor``: does this installation work here, and what is to be done if not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nodulenet.cli.arguments import JsonOption

if TYPE_CHECKING:
    from nodulenet.doctor.check import Check

_COLOURS = {"ok": "green", "note": "yellow", "fix": "red"}


def doctor(
    small_run: Annotated[
        bool,
        typer.Option("--run/--no-run", help="Run the whole path once on phantoms, half a minute."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Look at versions, backends, devices, memory, disk and decoders, and run a small example.

    Reads nothing of any patient and sends nothing. Exit code 4 if something is to be mended.
    """
    from nodulenet.cli.terminal import say
    from nodulenet.doctor.examination import examine

    if small_run:
        say("looking; the small run at the end takes about half a minute (--no-run leaves it out)")
    checks = []
    for check in examine(Path.cwd(), small_run=small_run):
        checks.append(check)
        if not as_json:
            _tell(check)
    to_mend = sum(check.state == "fix" for check in checks)
    if as_json:
        typer.echo(json.dumps([check.as_dict() for check in checks], indent=2))
    else:
        typer.echo(
            _summary(to_mend, whole=any(c.what == "backend" and c.state == "ok" for c in checks))
        )
    if to_mend:
        raise typer.Exit(4)


def _tell(check: Check) -> None:
    typer.secho(f"{check.state:<4}", fg=_COLOURS[check.state], nl=False)
    typer.echo(f"  {check.what}: {check.found}")
    if check.remedy:
        typer.echo(f"      -> {check.remedy}")


def _summary(to_mend: int, *, whole: bool) -> str:
    from nodulenet.amounts import count_text

    if to_mend:
        return f"{count_text(to_mend, 'thing')} to mend"
    if not whole:
        return "evaluation works; scans, training and answers need the whole of NoduleNet"
    return "everything that is needed works"
