"""``nodulenet audit``: what a store or a run leaks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nodulenet.patches.audit import Audit

PAIRS = "audit_pairs.csv"
LEAKS = 3


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="STORE_OR_RUN",
            help="Patch store that `prepare` wrote, or run directory that `train` wrote.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help=f"Write the pairs found there: a .csv file, or a folder for {PAIRS}."
        ),
    ] = None,
) -> None:
    """Look for leaks: patients, series and identical or near-identical patches on two sides.

    Near-identical patches are equal up to flips and turns by 90 degrees, a shift of one voxel and
    noise of about 10 HU. For a run its folds decide what is a leak; for a store alone everything
    that two patients share. Exit code 0: clean; 3: leaks were found. Label conflicts are listed,
    but are no leaks.
    """
    from nodulenet.cli.terminal import make_progress, say, warn
    from nodulenet.errors import RunError

    progress = make_progress()
    if (path / "config.yaml").is_file():
        from nodulenet.training.audit import audit_run
        from nodulenet.training.run import Run

        what = "run"
        found = audit_run(Run.open(path), progress=progress)
    elif any(path.glob("store.json")) or any(path.glob("*/store.json")):
        from nodulenet.patches.audit import audit_store
        from nodulenet.patches.store import find_store

        what = "store"
        found = audit_store(find_store(path), progress=progress)
    else:
        state = "is no patch store or run directory" if path.exists() else "is not there"
        raise RunError(
            f"{path}: {state}; expected a folder with store.json (`nodulenet prepare` prints its "
            f"name) or with config.yaml (`nodulenet train`)"
        )
    typer.echo(json.dumps(_as_json(what, path, found), indent=2) if as_json else _table(found))
    if out is not None:
        file = out if out.suffix == ".csv" else out / PAIRS
        _write(file, found)
        say(f"{len(found.pairs)} pairs: {file}")
    elif len(found.pairs) and not as_json:
        say(f"{len(found.pairs)} pairs; `--out FOLDER` writes them to {PAIRS}")
    if found.leaks:
        warn(f"{len(found.leaks)} of {len(found.checks)} checks found leaks")
        raise typer.Exit(LEAKS)


def _as_json(what: str, path: Path, found: Audit) -> dict[str, Any]:
    return {
        "audited": what,
        "path": str(path),
        "ok": found.ok,
        "leaks": len(found.leaks),
        "seconds": found.seconds,
        "checks": list(found.checks),
        "pairs": len(found.pairs),
    }


def _table(found: Audit) -> str:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in found.checks:
        result = "ok" if check["ok"] else "LEAK" if check["leak"] else "look at"
        # Ids come from tables of others; square brackets in them are no markup.
        table.add_row(check["check"], result, check["found"].replace("[", r"\["))
    lines = io.StringIO()
    Console(file=lines, width=118).print(table)
    text = "\n".join(line.rstrip() for line in lines.getvalue().splitlines())
    return f"{text}\n{found.seconds:.1f} s"


def _write(file: Path, found: Audit) -> None:
    from nodulenet.atomic import atomic_path

    with atomic_path(file) as temporary:
        found.pairs.to_csv(temporary, index=False)
