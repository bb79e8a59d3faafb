"""``nodulenet classify``: calibrated probabilities at points of a scan, or of given patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nodulenet.cli.arguments import IrregularOption, SeriesOption, SpaceOption, numbers, pairs
from nodulenet.errors import UsageError

if TYPE_CHECKING:
    from nodulenet.inference.answers import Answers


_PROBABILITIES = ("probability", "probability_raw", "fold_low", "fold_high")


def classify(
    scan: Annotated[
        Path | None,
        typer.Argument(help="DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN_OR_BUNDLE", help="Run or bundle directory; needed."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y,Z", help="A finding's centre; may be given several times."),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV, Slicer markups, detections, mask (docs/points.md)."
        ),
    ] = None,
    space: SpaceOption = None,
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
    patches: Annotated[
        Path | None, typer.Option(metavar="ARCHIVE", help=".npz or .npy of patches, with --table.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Row i belongs to patch i.")
    ] = None,
    array: Annotated[
        str | None, typer.Option(metavar="NAME", help="Array inside the .npz; default its only.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=NAME",
            help="Name of a column of --table, e.g. spacing_x_mm=px; default as in training.",
        ),
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y[,Z]", help="Spacing of all --patches in mm.")
    ] = None,
    use: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of the run's models; default first.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write here instead of to stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of CSV.")] = False,
) -> None:
    """Classify findings of a scan, or patches. Give SCAN with --point/--points, or --patches."""
    if model is None:
        raise UsageError("classify: --model RUN_OR_BUNDLE is missing; give a trained run directory")
    if (scan is None) == (patches is None):
        raise UsageError("classify: give either SCAN or --patches ARCHIVE")
    if patches is not None:
        if table is None:
            raise UsageError("classify: --patches needs --table CSV")
        if point or points or series or space or irregular != "refuse":
            raise UsageError(
                "classify: --point, --points, --space, --series and --irregular belong to SCAN"
            )
        spacing_mm = numbers(spacing, "--spacing", (2, 3), "0.7,0.7,1.25") if spacing else None
        given = pairs(column or [], "--column", "spacing_x_mm=px")
        from nodulenet.inference.classify import classify_patches

        answers = classify_patches(
            patches, table, model, array=array, columns=given, spacing_mm=spacing_mm, model=use
        )
    else:
        if table or array or column or spacing:
            raise UsageError(
                "classify: --table, --array, --column and --spacing belong to --patches"
            )
        assert scan is not None
        answers = _classify_scan(scan, point or [], points, space, series, irregular, model, use)
    _print(answers, out, as_json=as_json)


def _classify_scan(
    scan: Path,
    given: list[str],
    file: Path | None,
    space: Literal["lps", "ras", "voxel"] | None,
    series: str | None,
    irregular: Literal["refuse", "resample"],
    model: Path,
    use: str | None,
) -> Answers:
    if not given and file is None:
        raise UsageError("classify: give --point X,Y,Z or --points FILE")
    named = [
        (f"point-{i}", numbers(text, "--point", (3,), "56.2,86.2,-115.9"))
        for i, text in enumerate(given)
    ]
    import numpy as np

    from nodulenet.cli.terminal import say
    from nodulenet.ct import open_ct
    from nodulenet.findings.point_files import read_points_file
    from nodulenet.findings.points import points_of_scan, scan_names, to_lps_mm
    from nodulenet.findings.table import POINT_COLUMNS
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.classify import classify as classify_points

    bundle = Bundle(model)
    volume = open_ct(scan, series_uid=series, irregular=irregular)
    ids = [name for name, _ in named]
    places = to_lps_mm(np.array([p for _, p in named]).reshape(-1, 3), space or "lps", volume)
    if file is not None:
        # With --point, --space means those; a file that says its own space keeps it.
        of_file = space if not named or file.suffix.lower() in (".csv", ".txt") else None
        rows = read_points_file(file, space=of_file, volume=volume)
        for note in rows.notes:
            say(f"note: {note}")
        mine = points_of_scan(rows.table, scan_names(scan, volume.series_uid), str(file))
        ids += list(mine["finding_id"])
        places = np.concatenate([places, mine[list(POINT_COLUMNS)].to_numpy(dtype=float)])
    return classify_points(volume, places, bundle, finding_ids=ids, model=use)


def _print(answers: Answers, out: Path | None, *, as_json: bool) -> None:
    from nodulenet.atomic import write_text
    from nodulenet.cli.terminal import end, say, warn

    for text in answers.warnings:
        warn(text)
    table = answers.table
    if as_json:
        content: dict[str, Any] = {
            "meaning": answers.meaning,
            "training_prevalence": answers.prevalence,
            "model": answers.model,
            "use": "research use only",
            "answers": json.loads(table.to_json(orient="records", double_precision=15)),
            "failures": answers.failures,
            "warnings": list(answers.warnings),
        }
        text = json.dumps(content, indent=2)
    else:
        rounded = table.round(dict.fromkeys(_PROBABILITIES, 6))
        text = rounded.to_csv(index=False).rstrip("\n")
    if out is not None:
        write_text(out, text + "\n")
    else:
        typer.echo(text)
    if len(table):
        say(
            f"{answers.model}: {answers.meaning}, at the training's prevalence of "
            f"{answers.prevalence:.0%}; research use only"
        )
    end(answers.failures, done=len(table))
