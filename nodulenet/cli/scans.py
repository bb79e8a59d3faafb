"""``nodulenet scans``: what is on this disk, and which of it can be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nodulenet.cli.arguments import IrregularOption, JsonOption, KeepIdsOption
from nodulenet.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from nodulenet.ct.inventory import Inventory

_NAMED = 5


def scans(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Searched with its subfolders; or a .zip.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[choose.KEY=VALUE]...",
            help="Thresholds of the rule, e.g. choose.thickest_mm=2.5 (docs/scans.md).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="CSV", help="Write the table here.")
    ] = None,
    choose: Annotated[
        Literal["thinnest-axial-soft"] | None,
        typer.Option(help="Take one series of each study by this rule."),
    ] = None,
    take: Annotated[
        list[str] | None,
        typer.Option(metavar="UID", help="Take this series of its study; may be given often."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Write here which files are of no series, and why."),
    ] = None,
    irregular: IrregularOption = "refuse",
    look: Annotated[
        bool,
        typer.Option("--look", help="Look at a slice or a few of each scan, too, as opening does."),
    ] = False,
    keep_ids: KeepIdsOption = False,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes; default one a CPU where there are many files."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List every series below a folder, by headers alone, and what opening it says."""
    if overrides and choose is None:
        raise UsageError(f"scans: {overrides[0]} needs --choose thinnest-axial-soft")
    from nodulenet.cli.terminal import make_progress, say, warn
    from nodulenet.config.load import overridden
    from nodulenet.config.series_choice import SeriesChoice
    from nodulenet.ct.inventory import take_inventory
    from nodulenet.findings.scan_table import scan_rows, undecided_studies, write_scan_table
    from nodulenet.findings.series_choice import choose_series

    rule = None if choose is None else overridden(SeriesChoice(), "choose", overrides or [])
    found = take_inventory(
        folder, irregular=irregular, look_at_voxels=look, jobs=jobs, progress=make_progress()
    )
    table = choose_series(scan_rows(found, keep_ids=keep_ids), rule, take or [])
    if out is not None:
        write_scan_table(table, out)
    if files is not None:
        _write_files(found, files)
    if as_json:
        typer.echo(json.dumps(_content(found, table), indent=2, allow_nan=False))
    else:
        for line in _lines(found, table, out):
            typer.echo(line)
    for reason, text in _damage(found):
        warn(f"{reason}: {text}")
    for text in undecided_studies(table)[:_NAMED]:
        say(f"note: {text}; give --choose or --take")
    if table.empty:
        raise typer.Exit(3)


def _damage(found: Inventory) -> list[tuple[str, str]]:
    from nodulenet.ct.inventory_files import DAMAGED

    damaged = [o for o in found.others if o.reason == DAMAGED]
    shown = [(DAMAGED, other.detail) for other in damaged[:_NAMED]]
    if len(damaged) > _NAMED:
        shown.append((DAMAGED, f"and {len(damaged) - _NAMED} more; --files CSV lists them"))
    return shown


def _content(found: Inventory, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "files": found.files,
        "series": json.loads(table.to_json(orient="records", double_precision=15)),
        "not_read": found.reasons,
        "files_not_read": [
            {"path": str(o.path), "reason": o.reason, "detail": o.detail} for o in found.others
        ],
    }


def _write_files(found: Inventory, path: Path) -> None:
    import pandas as pd

    from nodulenet.atomic import atomic_path

    rows = [(str(o.path), o.reason, o.detail) for o in found.others]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=["path", "reason", "detail"]).to_csv(temporary, index=False)


def _lines(found: Inventory, table: pd.DataFrame, out: Path | None) -> Iterator[str]:
    if out is None:
        for row in table.itertuples():
            yield _line(row)
    others = ", ".join(f"{reason}: {count}" for reason, count in found.reasons.items())
    yield f"files     {found.files}" + (f" (of no series: {others})" if others else "")
    usable = int(table["usable"].sum())
    yield f"series    {len(table)}, usable: {usable}, not usable: {len(table) - usable}"
    studies = table.loc[table["study_uid"] != "", "study_uid"].nunique()
    alone = int((table["study_uid"] == "").sum())
    yield f"studies   {studies}" + (f", and {alone} series without one" if alone else "")
    yield f"chosen    {int((table['chosen'] == 'yes').sum())}"
    if out is not None:
        yield f"table     {out}"


def _line(row: Any) -> str:
    number = f"{row.series_number:.0f}" if row.series_number == row.series_number else "-"
    size = f"{row.slices:g} slices, {row.slice_spacing_mm:.4g} mm apart"
    words = " ".join(w for w in (row.modality or row.format, row.kernel, row.description) if w)
    mark = "*" if row.chosen == "yes" else " "
    return f"{mark} {row.series_uid}\n    {number}: {words}; {size}; {row.verdict}\n    {row.path}"
