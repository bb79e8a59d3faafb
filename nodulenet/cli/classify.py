"""``nodulenet classify``: calibrated probabilities at points of a scan, or of given patches."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nodulenet.cli.arguments import IrregularOption, SeriesOption, SpaceOption, numbers, pairs
from nodulenet.errors import UsageError

if TYPE_CHECKING:
    from nodulenet.inference.answering import Answering
    from nodulenet.inference.answers import Answers
    from nodulenet.inference.bundle import Bundle


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
    operating_point: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="By which threshold `call` is given; default the first."),
    ] = None,
    miss_rate: Annotated[
        float | None,
        typer.Option(help="Of the conformal answer, e.g. 0.05; default the bundle's first."),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share of positives where you are; default that of the training."),
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
    from nodulenet.inference.answering import Answering
    from nodulenet.inference.bundle import Bundle

    answering = Answering(operating_point, miss_rate, prevalence)
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
            patches,
            table,
            model,
            array=array,
            columns=given,
            spacing_mm=spacing_mm,
            model=use,
            answering=answering,
        )
    else:
        if table or array or column or spacing:
            raise UsageError(
                "classify: --table, --array, --column and --spacing belong to --patches"
            )
        assert scan is not None
        opened = Bundle(model)
        answers = _classify_scan(
            scan, point or [], points, space, series, irregular, opened, use, answering
        )
    _print(answers, out, as_json=as_json)


def _classify_scan(
    scan: Path,
    given: list[str],
    file: Path | None,
    space: Literal["lps", "ras", "voxel"] | None,
    series: str | None,
    irregular: Literal["refuse", "resample"],
    bundle: Bundle,
    use: str | None,
    answering: Answering,
) -> Answers:
    if not given and file is None:
        raise UsageError("classify: give --point X,Y,Z or --points FILE")
    named = [
        (f"point-{i}", numbers(text, "--point", (3,), "56.2,86.2,-115.9"))
        for i, text in enumerate(given)
    ]
    import numpy as np
    import pandas as pd

    from nodulenet.cli.terminal import say
    from nodulenet.ct import open_ct
    from nodulenet.findings.point_files import read_points_file
    from nodulenet.findings.points import points_of_scan, scan_names, to_lps_mm
    from nodulenet.findings.table import POINT_COLUMNS
    from nodulenet.inference.classify import classify as classify_points

    volume = open_ct(scan, series_uid=series, irregular=irregular)
    ids = [name for name, _ in named]
    known = [pd.DataFrame(index=range(len(ids)))]
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
        known.append(mine.drop(columns=["finding_id", *POINT_COLUMNS]))
    return classify_points(
        volume,
        places,
        bundle,
        finding_ids=ids,
        findings=pd.concat(known, ignore_index=True),
        model=use,
        answering=answering,
    )


def _print(answers: Answers, out: Path | None, *, as_json: bool) -> None:
    from nodulenet.atomic import write_text
    from nodulenet.cli.terminal import end, say, warn

    for text in answers.warnings:
        warn(text)
    table = answers.table
    if as_json:
        content: dict[str, Any] = {
            "meaning": answers.meaning,
            "prevalence": answers.prevalence,
            "label_meaning": answers.label_meaning,
            "class_names": list(answers.class_names),
            "operating_point": asdict(answers.operating_point) if answers.operating_point else None,
            "miss_rate": answers.miss_rate,
            "bundle": answers.bundle,
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
            f"{answers.model}: {answers.meaning}, at a prevalence of "
            f"{answers.prevalence:.0%}; research use only"
        )
    end(answers.failures, done=len(table))
