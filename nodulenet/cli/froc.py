"""``nodulenet froc``: LUNA16's FROC and CPM of a submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nodulenet.cli.arguments import JsonOption, LevelOption, SeedOption

if TYPE_CHECKING:
    from nodulenet.evaluation.froc import FrocResult


def froc(
    submission: Annotated[
        Path,
        typer.Argument(
            metavar="SUBMISSION.csv", help="Marks: seriesuid, coordX, coordY, coordZ, probability."
        ),
    ],
    annotations: Annotated[
        Path, typer.Option(help="CSV of the nodules to be found, with diameter_mm.")
    ],
    series: Annotated[
        Path, typer.Option(help="CSV of the scans that count: one series UID a line, no header.")
    ],
    excluded: Annotated[
        Path | None, typer.Option(help="CSV of findings on which marks are ignored.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for froc.json, froc_curve.csv, missed.csv and froc.svg, .png, .csv."
        ),
    ] = None,
    bootstraps: Annotated[
        int, typer.Option(min=0, max=100_000, help="Resamples of the scans; 0 for none.")
    ] = 1000,
    level: LevelOption = 0.95,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """FROC and CPM of detections, counted exactly as LUNA16 counts them."""
    from nodulenet.cli.terminal import say, warn
    from nodulenet.evaluation.froc import evaluate_froc
    from nodulenet.evaluation.froc_tables import FrocReference, read_marks

    result = evaluate_froc(
        read_marks(submission),
        FrocReference.read(annotations, excluded, series),
        n_bootstrap=bootstraps,
        seed=seed,
        level=level,
    )
    if out is not None:
        _write(result, submission.stem, out)
    typer.echo(
        json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else _table(result)
    )
    if excluded is None:
        warn(
            "no --excluded: marks on findings that LUNA16 ignores (annotations_excluded.csv) count "
            "as false positives here"
        )
    for text in result.warnings:
        warn(text)
    if out is not None:
        say(f"results: {out}")


def _write(result: FrocResult, name: str, folder: Path) -> None:
    import pandas as pd

    from nodulenet.atomic import write_json, write_text
    from nodulenet.plots.froc import froc_figure
    from nodulenet.plots.render import save_figure

    write_json(folder / "froc.json", result.to_dict())
    # Two kinds of rows: the curve itself, and the band on a grid of rates.
    curve = pd.concat(
        [result.points.assign(row="point"), result.curve.assign(row="band")], ignore_index=True
    )
    columns = ["row", "fp_rate", "sensitivity", "threshold", "low", "high", "mean"]
    write_text(folder / "froc_curve.csv", curve[columns].to_csv(index=False, lineterminator="\n"))
    write_text(folder / "missed.csv", result.missed.to_csv(index=False, lineterminator="\n"))
    label = f"{name}, CPM {result.cpm:.3f}"
    save_figure(froc_figure({name: result.curve}, labels={name: label}), folder / "froc")


def _table(result: FrocResult) -> str:
    """Sensitivities and CPM with intervals, and the counts under them."""
    import io

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, title_justify="left", caption_justify="left", pad_edge=False)
    table.title = f"FROC: {result.nodules} nodules in {result.scans} scans"
    level = f"{100 * result.cpm_interval.level:g}% interval"
    for name in ("false positives a scan", "sensitivity", level):
        table.add_column(name, justify="right", no_wrap=True)
    names = [*map(_rate, result.fp_rates), "mean (CPM)"]
    values = [*result.sensitivities, result.cpm]
    intervals = [*result.sensitivity_intervals, result.cpm_interval]
    for name, value, interval in zip(names, values, intervals, strict=True):
        limits = "-" if interval.low is None else f"{interval.low:.4f} to {interval.high:.4f}"
        table.add_row(name, f"{value:.4f}", limits)
    lines = io.StringIO()
    console = Console(file=lines, width=118)
    console.print(table)
    for text in (
        f"candidates {result.candidates}: true positives {result.true_positives}, false positives "
        f"{result.false_positives}, ignored on excluded findings {result.ignored_excluded}, "
        f"ignored duplicates {result.ignored_duplicates}",
        f"nodules missed (false negatives): {result.false_negatives}",
    ):
        console.print(text, highlight=False)
    return "\n".join(line.rstrip() for line in lines.getvalue().splitlines())


def _rate(rate: float) -> str:
    return f"{rate:g}" if rate >= 1 else f"1/{round(1 / rate)}"
