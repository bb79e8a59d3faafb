"""``nodulenet classify``: calibrated probabilities at points of scans, or of given patches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nodulenet.cli.arguments import (
    CsvDecimalOption,
    CsvSeparatorOption,
    FirstPixelOption,
    IrregularOption,
    KeepIdsOption,
    SchedulerOption,
    SeriesOption,
    SpaceOption,
    UseOption,
    csv_format,
    first_pixel_number,
    numbers,
    pairs,
)
from nodulenet.errors import UsageError
from nodulenet.timings import end_timings, record_timings, timed

if TYPE_CHECKING:
    from nodulenet.config.schema import CsvFormat
    from nodulenet.ct import CTVolume
    from nodulenet.inference.answering import Answering
    from nodulenet.inference.answers import Answers
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.outputs.formats import OutputFormat
    from nodulenet.inference.outputs.sources import Saliency, Sources


def classify(
    scan: Annotated[
        Path | None,
        typer.Argument(help="DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN_OR_BUNDLE", help="Run, bundle or .zip; needed."),
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
    csv_separator: CsvSeparatorOption = None,
    csv_decimal: CsvDecimalOption = None,
    first_pixel: FirstPixelOption = None,
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Many scans: a table of `nodulenet scans`, or a folder of scans, with --points "
            "and --out. With --patches: row i belongs to patch i.",
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Of --table: processes that read scans.")
    ] = None,
    scheduler: SchedulerOption = None,
    patches: Annotated[
        Path | None, typer.Option(metavar="ARCHIVE", help=".npz or .npy of patches, with --table.")
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
    use: UseOption = None,
    engine: Annotated[
        Literal["keras", "onnx", "openvino"] | None,
        typer.Option(help="What computes; default the fastest that passed `nodulenet export`."),
    ] = None,
    precision: Annotated[
        Literal["f32", "bf16"], typer.Option(help="Of --engine openvino.")
    ] = "f32",
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
        Path | None,
        typer.Option(metavar="PATH", help="Write to this file; with --formats or --table: folder."),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Write into --out: csv, json, slicer, grand-challenge, sheet, dicom-sr, "
            "dicom-capture, dicom-pdf (docs/outputs.md).",
        ),
    ] = None,
    reference_dicom: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="DICOM series that a converted scan was made from, for dicom-*."
        ),
    ] = None,
    saliency: Annotated[
        bool,
        typer.Option(
            "--saliency",
            help="Draw occlusion maps over the sheet's planes (docs/explain.md); takes seconds.",
        ),
    ] = False,
    keep_ids: KeepIdsOption = False,
    timings: Annotated[
        bool, typer.Option("--timings", help="Print what took how long; not of --table scans.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of CSV.")] = False,
) -> None:
    """Classify findings of a scan, of many scans, or patches.

    Give SCAN with --point/--points; --table with --points and --out; or --patches with --table.
    """
    if model is None:
        raise UsageError("classify: --model RUN_OR_BUNDLE is missing; give a trained run directory")
    if patches is not None and scan is not None:
        raise UsageError("classify: give either SCAN or --patches ARCHIVE")
    if scan is None and patches is None and table is None:
        raise UsageError("classify: give SCAN, --table SCANS or --patches ARCHIVE")
    record = _begin_timings() if timings else None
    with timed("imports"):
        from nodulenet.ct import open_ct
        from nodulenet.inference.answering import Answering
        from nodulenet.inference.bundle import Bundle
        from nodulenet.inference.classify import classify_patches
        from nodulenet.inference.outputs.sources import Sources

    answering = Answering(operating_point, miss_rate, prevalence)

    def opened() -> Bundle:
        with timed("bundle"):
            bundle = Bundle(model, engine=engine, precision=precision)
            bundle.model(use)
        return bundle

    wanted = _formats(formats, out, as_json)
    if saliency:
        from nodulenet.inference.outputs.formats import refuse_undrawn

        refuse_undrawn(wanted)
    how = _Pointing(
        tuple(point or ()),
        points,
        space,
        csv_format(csv_separator, csv_decimal),
        first_pixel,
        keep_ids,
    )
    if patches is not None:
        how.refuse("--patches")
        if table is None:
            raise UsageError("classify: --patches needs --table CSV")
        _refuse("--patches", {"--series": series, "--irregular": irregular != "refuse"})
        _refuse("--patches", {"--jobs": jobs, "--scheduler": scheduler})
        _refuse("--patches", {"--reference-dicom": reference_dicom})
        spacing_mm = numbers(spacing, "--spacing", (2, 3), "0.7,0.7,1.25") if spacing else None
        given = pairs(column or [], "--column", "spacing_x_mm=px")
        answers = classify_patches(
            patches,
            table,
            opened(),
            array=array,
            columns=given,
            spacing_mm=spacing_mm,
            model=use,
            answering=answering,
            keep_ids=keep_ids,
        )
        _hand_out(answers, out, wanted, Sources(), as_json=as_json, record=record)
        return
    _refuse("SCAN", {"--array": array, "--column": column, "--spacing": spacing})
    if scan is None:
        assert table is not None
        _refuse("--table", {"--series": series, "--reference-dicom": reference_dicom})
        _refuse("--table", {"--timings": timings, "--json": as_json})
        _many(table, how, opened, use, answering, out, wanted, saliency, irregular, jobs, scheduler)
        return
    _refuse("SCAN", {"--table": table, "--jobs": jobs, "--scheduler": scheduler})
    if reference_dicom is not None and not any("dicom" in f.needs for f in wanted):
        raise UsageError("classify: --reference-dicom is for --formats dicom-sr and the like")
    how.require()
    if wanted:
        from nodulenet.inference.outputs.formats import refuse_unfit

        # What cannot be known before the scan is opened is asked again when it is written.
        refuse_unfit(wanted, points=True, scan=True, dicom=True)
    bundle = opened()
    with timed("scan"):
        volume = open_ct(scan, series_uid=series, irregular=irregular)
    answers = how.answers(scan, volume, bundle, use, answering)
    maps: dict[str, Saliency] = {}
    if saliency:
        from nodulenet.inference.explain.scan_maps import scan_maps

        with timed("saliency"):
            maps = scan_maps(answers, volume, bundle)
    dicom = reference_dicom or (scan if volume.format == "dicom" else None)
    sources = Sources(volume=volume, dicom=dicom, saliency=maps)
    _hand_out(answers, out, wanted, sources, as_json=as_json, record=record)


@dataclass(frozen=True)
class _Pointing:
    """Where the findings are, as the options say it."""

    point: tuple[str, ...]
    file: Path | None
    space: Literal["lps", "ras", "voxel"] | None
    csv: CsvFormat | None
    first_pixel: Literal["0", "0.5", "1"] | None
    keep_ids: bool

    def require(self) -> None:
        if not self.point and self.file is None:
            raise UsageError("classify: give --point X,Y,Z or --points FILE")
        self.named()

    def named(self) -> list[tuple[str, list[float]]]:
        """The single points, by their names."""
        return [
            (f"point-{i}", numbers(text, "--point", (3,), "56.2,86.2,-115.9"))
            for i, text in enumerate(self.point)
        ]

    def refuse(self, mode: str) -> None:
        _refuse(
            mode,
            {
                "--point": self.point,
                "--points": self.file,
                "--space": self.space,
                "--csv-separator or --csv-decimal": self.csv,
                "--first-pixel": self.first_pixel,
            },
        )

    def answers(
        self,
        scan: Path,
        volume: CTVolume,
        bundle: Bundle,
        use: str | None,
        answering: Answering,
    ) -> Answers:
        named = self.named()
        import numpy as np
        import pandas as pd

        from nodulenet.findings.points import to_lps_mm
        from nodulenet.findings.table import POINT_COLUMNS
        from nodulenet.inference.classify import classify as classify_points

        ids = [name for name, _ in named]
        known = [pd.DataFrame(index=range(len(ids)))]
        places = to_lps_mm(
            np.array([p for _, p in named]).reshape(-1, 3), self.space or "lps", volume
        )
        if self.file is not None:
            mine = self._of_file(scan, volume)
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
            keep_ids=self.keep_ids,
        )

    def _of_file(self, scan: Path, volume: CTVolume) -> Any:
        from nodulenet.cli.terminal import say
        from nodulenet.config.schema import CsvFormat
        from nodulenet.findings.image_points import names_images
        from nodulenet.findings.point_files import read_points_file
        from nodulenet.findings.points import points_of_scan, scan_names
        from nodulenet.findings.reading import csv_columns

        assert self.file is not None
        space = self.space
        is_csv = self.file.suffix.lower() in (".csv", ".txt")
        # With --point, --space means those; a file that says its own space keeps it.
        if self.point and (
            not is_csv or names_images(csv_columns(self.file, self.csv or CsvFormat()))
        ):
            space = None
        rows = read_points_file(
            self.file,
            space=space,
            volume=volume,
            csv=self.csv,
            first_pixel=first_pixel_number(self.first_pixel),
        )
        for note in rows.notes:
            say(f"note: {note}")
        return points_of_scan(rows.table, scan_names(scan, volume.series_uid), str(self.file))


def _refuse(mode: str, given: dict[str, Any]) -> None:
    """Options that mean nothing here, rather than ignoring them."""
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise UsageError(f"classify: {', '.join(wrong)} does not belong to {mode}; leave it out")


def _formats(names: str | None, out: Path | None, as_json: bool) -> tuple[OutputFormat, ...]:
    if names is None:
        return ()
    if out is None or as_json:
        raise UsageError(
            "classify: --formats needs --out FOLDER, and --json is for the terminal; give "
            "--formats json,... instead"
        )
    from nodulenet.inference.outputs.formats import chosen_formats

    return chosen_formats(names)


def _many(
    table: Path,
    how: _Pointing,
    opened: Callable[[], Bundle],
    use: str | None,
    answering: Answering,
    out: Path | None,
    wanted: Sequence[OutputFormat],
    saliency: bool,
    irregular: Literal["refuse", "resample"],
    jobs: int | None,
    scheduler: str | None,
) -> None:
    from nodulenet.cli.terminal import end, make_progress, say, warn
    from nodulenet.config.schema import PointsSource
    from nodulenet.inference.many_scans import classify_scans

    if how.file is None or how.point or out is None:
        raise UsageError("classify: --table needs --points FILE and --out FOLDER, and no --point")
    source = PointsSource(
        kind="points",
        scans=table,
        points=how.file,
        space=how.space or "lps",
        irregular=irregular,
        keep_ids=how.keep_ids,
        **({} if how.csv is None else {"csv": how.csv}),
        **({} if how.first_pixel is None else {"first_pixel": float(how.first_pixel)}),
    )
    done = classify_scans(
        source,
        opened(),
        out,
        formats=wanted,
        saliency=saliency,
        model=use,
        answering=answering,
        jobs=jobs,
        scheduler=scheduler,
        progress=make_progress(),
    )
    for text in done.warnings:
        warn(text)
    typer.echo(str(out / "answers.csv"))
    say(
        f"{len(done.table)} findings; {done.made} scans answered now, {done.reused} before; "
        f"research use only"
    )
    end(done.failures, done=len(done.table), where=f"; all in {out / 'failures.csv'}")


def _hand_out(
    answers: Answers,
    out: Path | None,
    wanted: Sequence[OutputFormat],
    sources: Sources,
    *,
    as_json: bool,
    record: dict[str, float] | None,
) -> None:
    with timed("output"):
        _write(answers, out, wanted, sources, as_json=as_json)
    if record is not None:
        _tell_timings(record)
    from nodulenet.cli.terminal import end

    end(answers.failures, done=len(answers.table))


def _begin_timings() -> dict[str, float]:
    """The record of this command, from the start of its process on."""
    record = record_timings()
    # Until here nothing has waited: the processor's time is the clock's.
    record["start"] = time.process_time()
    return record


_DECODES = "patches"


def _tell_timings(record: dict[str, float]) -> None:
    from nodulenet.cli.terminal import say

    end_timings()
    say("timings   " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in record.items()))
    if _DECODES in record:
        steps = list(record)
        before = sum(record[step] for step in steps[: steps.index(_DECODES)])
        say(f"          {before:.2f} s before the first voxels were decoded")


def _write(
    answers: Answers,
    out: Path | None,
    wanted: Sequence[OutputFormat],
    sources: Sources,
    *,
    as_json: bool,
) -> None:
    from nodulenet.atomic import write_text
    from nodulenet.cli.terminal import say, warn
    from nodulenet.inference.outputs.csv_table import csv_text
    from nodulenet.inference.outputs.json_document import json_text

    for text in answers.warnings:
        warn(text)
    if wanted:
        from nodulenet.inference.outputs.formats import write_outputs

        assert out is not None
        written = write_outputs(answers, out, wanted, sources)
        for file in written.files:
            typer.echo(str(file))
        for note in written.notes:
            say(f"note: {note}")
    else:
        text = json_text(answers) if as_json else csv_text(answers)
        if out is not None:
            write_text(out, text + "\n")
        else:
            typer.echo(text)
    if len(answers.table):
        say(
            f"{answers.model}: {answers.meaning}, at a prevalence of {answers.prevalence:.0%}; "
            f"research use only"
        )
