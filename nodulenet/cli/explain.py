"""``nodulenet explain``: a map of what the answer at a point rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nodulenet.cli.arguments import (
    IrregularOption,
    SeriesOption,
    SpaceOption,
    UseOption,
    numbers,
)
from nodulenet.errors import UsageError

if TYPE_CHECKING:
    from nodulenet.inference.explain.finding import ExplainedFinding


def explain(
    scan: Annotated[
        Path | None,
        typer.Argument(help="DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="RUN_OR_BUNDLE", help="Run or bundle directory; needed."),
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="The finding's centre, in --space.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the map (NIfTI), picture and JSON."),
    ] = None,
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery", help="Instead of SCAN: maps for the gallery in the report of a run."
        ),
    ] = False,
    method: Annotated[
        Literal["grad-cam", "occlusion"],
        typer.Option(help="Gradients at a layer, or answers with parts covered."),
    ] = "grad-cam",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of Grad-CAM; default the deepest of at least 5 cells a side."
        ),
    ] = None,
    box_mm: Annotated[
        float | None, typer.Option(metavar="MM", help="Of occlusion; default a fifth of the patch.")
    ] = None,
    stride_mm: Annotated[
        float | None, typer.Option(metavar="MM", help="Of occlusion; default half a box.")
    ] = None,
    fill: Annotated[
        str,
        typer.Option(metavar="median|outside|HU", help="What occlusion covers with."),
    ] = "median",
    use: UseOption = None,
    on_scan_grid: Annotated[
        bool, typer.Option("--on-scan-grid", help="Write the map in the scan's voxels, too.")
    ] = False,
    random_check: Annotated[
        bool,
        typer.Option(help="Compare with the map of random weights (takes as long again)."),
    ] = True,
    space: SpaceOption = None,
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
) -> None:
    """Draw and save which parts of the patch speak for and against the answer at a point."""
    if model is None:
        raise UsageError("explain: --model RUN_OR_BUNDLE is missing; give a trained run directory")
    if gallery:
        given = (scan, point, out, layer, box_mm, stride_mm, space, series)
        if any(value is not None for value in given) or fill != "median" or on_scan_grid:
            raise UsageError("explain: --gallery goes with --model, --method and --use alone")
        _explain_gallery(model, method, use)
        return
    if scan is None or point is None or out is None:
        raise UsageError("explain: give SCAN, --point X,Y,Z and --out DIR, or --gallery")
    place = numbers(point, "--point", (3,), "56.2,86.2,-115.9")
    if method == "grad-cam" and (box_mm is not None or stride_mm is not None or fill != "median"):
        raise UsageError("explain: --box-mm, --stride-mm and --fill belong to --method occlusion")
    if method == "occlusion" and layer is not None:
        raise UsageError("explain: --layer belongs to --method grad-cam")
    cover: Literal["median", "outside"] | float
    if fill == "median":
        cover = "median"
    elif fill == "outside":
        cover = "outside"
    else:
        (cover,) = numbers(fill, "--fill", (1,), "median, --fill outside or --fill -850")
    import numpy as np

    from nodulenet.cli.terminal import make_progress, say, warn
    from nodulenet.ct import open_ct
    from nodulenet.findings.points import to_lps_mm
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.explain.finding import explain_finding, write_explained

    bundle = Bundle(model)
    bundle.model(use)
    volume = open_ct(scan, series_uid=series, irregular=irregular)
    centre = to_lps_mm(np.array([place]), space or "lps", volume)[0]
    explained = explain_finding(
        volume,
        centre,
        bundle,
        method=method,
        model=use,
        layer=layer,
        box_mm=box_mm,
        stride_mm=stride_mm,
        fill=cover,
        random_check=random_check,
        progress=make_progress(),
    )
    for text in volume.warnings:
        warn(text)
    for text in explained.notes:
        say(f"note: {text}")
    for file in write_explained(out, explained, scan=volume if on_scan_grid else None):
        typer.echo(file)
    _say(explained)


def _explain_gallery(run: Path, method: Literal["grad-cam", "occlusion"], use: str | None) -> None:
    import numpy as np

    from nodulenet.atomic import atomic_path
    from nodulenet.cli.terminal import make_progress, say
    from nodulenet.evaluation.table import read_predictions
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.explain.held_out import held_out_maps
    from nodulenet.patches.store import find_store
    from nodulenet.report.gallery import saliency_path, select_gallery
    from nodulenet.training.run import Run

    bundle = Bundle(run)
    chosen = bundle.model(use)
    rows = select_gallery(read_predictions(run / "predictions.csv"), chosen.key)
    folds = {
        str(name): int(fold) for name, fold in zip(rows["finding_id"], rows["fold"], strict=True)
    }
    store = find_store(Run.open(run).config.store_path)
    progress = make_progress()
    maps = held_out_maps(bundle, chosen, store, folds, method=method, progress=progress)
    for finding, found in maps:
        path = saliency_path(run, chosen.key, finding)
        with atomic_path(path) as temporary:
            np.save(temporary, found.values)
        typer.echo(path)
    say(f"{len(folds)} maps; `nodulenet evaluate {run}` draws them in the report's gallery")


def _say(explained: ExplainedFinding) -> None:
    from nodulenet.cli.terminal import say
    from nodulenet.config.meaning import MEANINGS

    strongest = explained.strongest()
    where = ", ".join(f"{v:.1f}" for v in strongest["point_lps_mm"])
    side = "for" if strongest["value"] > 0 else "against"
    say(
        f"{explained.model}: probability {MEANINGS[explained.label_meaning].probability_of} "
        f"{explained.probability:.2f}; {explained.explanation.what}; strongest {side} it at "
        f"({where}) mm LPS, {strongest['from_the_centre_mm']:.1f} mm from the point; research use "
        f"only"
    )
