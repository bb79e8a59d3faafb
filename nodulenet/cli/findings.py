"""``nodulenet findings``: positions from any source as one table, with a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nodulenet.cli.arguments import (
    CsvDecimalOption,
    CsvSeparatorOption,
    FirstPixelOption,
    IrregularOption,
    KeepIdsOption,
    SeriesOption,
    SpaceOption,
    csv_format,
    first_pixel_number,
    numbers,
)
from nodulenet.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="CSV", help="Write the table here.")
]
ScanOption = Annotated[
    Path | None,
    typer.Option(
        "--scan", metavar="SCAN", help="The scan: its rows are kept, voxels and images placed."
    ),
]

_LUNA25 = ("luna25", "point_list")

app = typer.Typer(
    help="Findings of a source as one table in LPS mm, with a summary. Nothing is detected here.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def luna16(
    root: Annotated[Path, typer.Argument(help="Folder with the challenge's tables (and scans).")],
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="candidates_V2.csv, candidates.csv or annotations.csv; default the first there.",
        ),
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(metavar="CSV", help="seriesuid, patient_id; default in ROOT.")
    ] = None,
    negatives_per_positive: Annotated[
        float | None, typer.Option(metavar="N", help="Sample so many negatives a positive.")
    ] = None,
    leave_out_irrelevant: Annotated[
        bool,
        typer.Option("--leave-out-irrelevant", help="No negatives on irrelevant findings."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    out: OutOption = None,
) -> None:
    """LUNA16: candidates with their class, or the annotated nodules."""
    from nodulenet.config.load import validated
    from nodulenet.config.schema import Luna16Source
    from nodulenet.findings.luna16 import CANDIDATES, read_luna16

    name = candidates or next((n for n in CANDIDATES if (root / n).is_file()), CANDIDATES[0])
    source = validated(
        Luna16Source,
        {
            "kind": "luna16",
            "root": root,
            "candidates": name,
            "patients": patients,
            "negatives_per_positive": negatives_per_positive,
            "leave_out_irrelevant": leave_out_irrelevant,
        },
    )
    found = read_luna16(source, seed=seed)
    listed = found.reference.get("seriesuids")
    scans = sum(1 for line in listed.read_text().splitlines() if line.strip()) if listed else None
    _finish(found.table, out, notes=found.notes, of_scans=scans)


@app.command()
def lidc(
    xml: Annotated[Path, typer.Option("--xml", metavar="DIR", help="The readers' XML.")],
    scans: Annotated[
        Path | None,
        typer.Option("--scans", metavar="CSV", help="Geometry of the scans, instead of DICOM."),
    ] = None,
    dicom: Annotated[
        Path | None,
        typer.Option("--dicom", metavar="DIR", help="The DICOM series; needed for LPS x and y."),
    ] = None,
    metric: Annotated[
        Literal["pylidc", "mm"], typer.Option(help="Distance by which marks are joined.")
    ] = "pylidc",
    minimum_readers: Annotated[int, typer.Option(metavar="N", help="Readers, at least.")] = 1,
    negative: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Median malignancy that is label 0.")
    ] = "1,2",
    positive: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Median malignancy that is label 1.")
    ] = "4,5",
    out: OutOption = None,
) -> None:
    """LIDC-IDRI: one row a physical nodule of 3 mm or more, with all readers' ratings."""
    from nodulenet.config.load import validated
    from nodulenet.config.schema import LabelRule
    from nodulenet.findings.labels import apply_label_rule
    from nodulenet.findings.lidc import lidc_nodules

    rule = validated(
        LabelRule,
        {
            "column": "malignancy_median",
            "negative": numbers(negative, "--negative", (2,), "1,2"),
            "positive": numbers(positive, "--positive", (2,), "4,5"),
        },
    )
    found = lidc_nodules(
        xml, scans=scans, dicom=dicom, metric=metric, minimum_readers=minimum_readers
    )
    table = found.table.copy()
    after = table.columns.get_loc("diameter_mm")
    table.insert(int(str(after)) + 1, "label", apply_label_rule(table, rule))
    notes = [
        *found.notes,
        f"label: median malignancy {negative} is 0, {positive} is 1, the rest has none; it is the "
        f"readers' opinion, not pathology",
        *(
            [
                f"x and y in LPS mm are unknown for {int(table['x_lps_mm'].isna().sum())} nodules: "
                f"give --dicom, or x_origin_lps_mm and y_origin_lps_mm in --scans"
            ]
            if table["x_lps_mm"].isna().any()
            else []
        ),
        f"{len(found.small)} marks below 3 mm and {len(found.non_nodules)} non-nodules not listed",
    ]
    _finish(table, out, notes=notes, failures=found.failures, of_scans=len(found.scans))


@app.command()
def luna25(
    file: Annotated[Path, typer.Argument(help="The challenge's table, or its point-list JSON.")],
    out: OutOption = None,
) -> None:
    """LUNA25: the training table (labels are outcomes) or an algorithm's point list."""
    _points(file, _LUNA25, "LUNA25's table or point list", out)


@app.command()
def slicer(
    file: Annotated[Path, typer.Argument(help=".mrk.json or .fcsv.")], out: OutOption = None
) -> None:
    """3D Slicer markups, LPS or RAS by their own flag."""
    _points(file, ("slicer",), "3D Slicer markups", out)


@app.command()
def points(
    file: Annotated[Path, typer.Argument(help="CSV, markups, detections, point list or mask.")],
    space: SpaceOption = None,
    scan: ScanOption = None,
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
    csv_separator: CsvSeparatorOption = None,
    csv_decimal: CsvDecimalOption = None,
    first_pixel: FirstPixelOption = None,
    keep_ids: KeepIdsOption = False,
    out: OutOption = None,
) -> None:
    """Positions in any file that is read: CSV, markups, detections, point list, mask."""
    if scan is None and (series or irregular != "refuse"):
        raise UsageError("findings points: --series and --irregular belong to --scan")
    _points(
        file,
        None,
        "",
        out,
        space=space,
        scan=scan,
        series=series,
        irregular=irregular,
        csv=csv_format(csv_separator, csv_decimal),
        first_pixel=first_pixel_number(first_pixel),
        keep_ids=keep_ids,
    )


@app.command()
def detections(
    file: Annotated[Path, typer.Argument(help="JSON of MONAI's detection bundle or tutorial.")],
    space: Annotated[
        Literal["lps", "ras"] | None, typer.Option(help="What the boxes are in; default lps.")
    ] = None,
    minimum_score: Annotated[
        float | None, typer.Option(metavar="P", help="Leave out boxes below.")
    ] = None,
    out: OutOption = None,
) -> None:
    """Boxes of MONAI's detector: their centres and mean side."""
    _points(file, ("detections",), "detections", out, space=space, minimum_score=minimum_score)


@app.command()
def mask(
    file: Annotated[Path, typer.Argument(help=".nii.gz, .nrrd, .mha, ... or DICOM SEG.")],
    threshold: Annotated[
        float | None, typer.Option(metavar="P", help="Makes a mask of probabilities.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Only these labels of the mask.")
    ] = None,
    minimum_volume_mm3: Annotated[
        float | None, typer.Option(metavar="MM3", help="Leave out smaller components.")
    ] = None,
    connectivity: Annotated[
        int | None, typer.Option(metavar="6|18|26", help="What touches; default 26.")
    ] = None,
    scan: ScanOption = None,
    out: OutOption = None,
) -> None:
    """A label mask: one finding a connected component, with centre and equivalent diameter."""
    chosen = None
    if labels is not None:
        try:
            chosen = [int(part) for part in labels.split(",")]
        except ValueError:
            raise UsageError(
                f"--labels {labels!r}: expected whole numbers, e.g. --labels 1,3"
            ) from None
    _points(
        file,
        ("mask",),
        "a label mask",
        out,
        scan=scan,
        threshold=threshold,
        labels=chosen,
        minimum_volume_mm3=minimum_volume_mm3,
        connectivity=connectivity,
    )


def _points(
    file: Path,
    kinds: tuple[str, ...] | None,
    what: str,
    out: Path | None,
    *,
    space: Any = None,
    scan: Path | None = None,
    series: str | None = None,
    irregular: Literal["refuse", "resample"] = "refuse",
    keep_ids: bool = False,
    **options: Any,
) -> None:
    from nodulenet.ct import open_ct
    from nodulenet.findings.patients import unnamed_patients
    from nodulenet.findings.point_files import read_points_file
    from nodulenet.findings.points import points_of_scan, scan_names
    from nodulenet.findings.table import POINT_COLUMNS

    volume = None if scan is None else open_ct(scan, series_uid=series, irregular=irregular)
    rows = read_points_file(file, space=space, volume=volume, **options)
    if kinds is not None and rows.kind not in kinds:
        raise UsageError(
            f"{file}: is a file of kind {rows.kind}, expected {what}; use `nodulenet findings "
            f"points`"
        )
    unnamed = unnamed_patients(rows.table, keep_ids=keep_ids or kinds == _LUNA25)
    table, notes = unnamed.table, [*rows.notes, *unnamed.notes]
    if scan is not None and volume is not None:
        mine = points_of_scan(table, scan_names(scan, volume.series_uid), str(file))
        if len(mine) < len(table):
            notes.append(f"{len(table) - len(mine)} rows of other scans left out")
        outside = ~volume.contains(mine[list(POINT_COLUMNS)].to_numpy(dtype=float))
        if outside.any():
            first = mine["finding_id"][outside].iloc[0]
            notes.append(f"{int(outside.sum())} lie outside {scan}, the first is {first}")
        table = mine
    _finish(table, out, notes=notes)


def _finish(
    table: pd.DataFrame,
    out: Path | None,
    *,
    notes: Sequence[str] = (),
    failures: Sequence[dict[str, str]] = (),
    of_scans: int | None = None,
) -> None:
    """The summary, the table's file, and the failures."""
    from nodulenet.atomic import atomic_path
    from nodulenet.cli.terminal import end, say
    from nodulenet.findings.summary import summarize_findings

    for note in notes:
        say(f"note: {note}")
    facts = summarize_findings(table)
    scans, patients = facts["scans"], facts["patients"]
    typer.echo(f"findings  {facts['findings']}")
    if scans is not None:
        typer.echo(f"scans     {scans}" + (f" of {of_scans}" if of_scans is not None else ""))
    if patients is not None:
        typer.echo(f"patients  {patients}")
    typer.echo(f"labels    {_counts(facts['labels'])}")
    typer.echo("diameter  label")
    for name, counts in facts["sizes"].items():
        typer.echo(f"  {name:<16} {_counts(counts)}")
    if out is not None:
        with atomic_path(out) as temporary:
            table.to_csv(temporary, index=False)
        typer.echo(f"table     {out}")
    end(failures, done=len(table))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{label}: {count}" for label, count in counts.items()) or "none"
