"""``nodulenet patch``: the patch around a point, as an image file and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nodulenet.cli.arguments import (
    IrregularOption,
    ScanArgument,
    SeriesOption,
    SpaceOption,
    numbers,
)
from nodulenet.errors import UsageError


def patch(
    scan: ScanArgument,
    point: Annotated[str, typer.Option(metavar="X,Y,Z", help="The centre, in --space.")],
    space: SpaceOption = None,
    size: Annotated[
        str, typer.Option(metavar="Z,Y,X", help="Voxels; one number for a cube.")
    ] = "64",
    spacing: Annotated[
        str, typer.Option(metavar="X,Y,Z", help="mm; one number for all axes.")
    ] = "1",
    interpolation: Annotated[
        Literal["linear", "bspline"], typer.Option(help="How voxels are interpolated.")
    ] = "linear",
    series: SeriesOption = None,
    irregular: IrregularOption = "refuse",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HU: .nii.gz, .nii, .mha or .nrrd.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture of the three planes.")
    ] = None,
    window: Annotated[
        str, typer.Option(metavar="NAME|LOW,HIGH", help="HU window of the picture.")
    ] = "lung",
) -> None:
    """Cut the patch around a point: HU to --out, a picture to --png."""
    if out is None and png is None:
        raise UsageError("patch: give --out FILE, --png FILE or both")
    voxels = numbers(size, "--size", (1, 3), "64 or --size 32,64,64")
    steps = numbers(spacing, "--spacing", (1, 3), "1 or --spacing 0.7,0.7,1.25")
    if any(not v.is_integer() for v in voxels):
        raise UsageError(f"--size {size!r}: expected whole numbers of voxels")
    import numpy as np

    from nodulenet.cli.terminal import say, warn
    from nodulenet.ct import extract_patch, open_ct
    from nodulenet.ct.windows import resolve_window
    from nodulenet.ct.write import write_patch
    from nodulenet.findings.points import to_lps_mm

    bounds = resolve_window(
        tuple(numbers(window, "--window", (2,), "lung or --window -1000,400"))  # type: ignore[arg-type]
        if "," in window
        else window
    )
    given = np.array([numbers(point, "--point", (3,), "56.2,86.2,-115.9")])
    volume = open_ct(scan, series_uid=series, irregular=irregular)
    for text in volume.warnings:
        warn(text)
    centre = to_lps_mm(given, space or "lps", volume)[0]
    spacing_mm = (steps * 3)[:3]
    hu = extract_patch(
        volume, centre, [int(v) for v in (voxels * 3)[:3]], spacing_mm, interpolation=interpolation
    )
    where = ", ".join(f"{value:.1f}" for value in centre)
    if out is not None:
        typer.echo(write_patch(out, hu, centre, spacing_mm))
    if png is not None:
        from nodulenet.plots import planes_figure, save_png

        x, y, z = spacing_mm
        uid = volume.series_uid
        name = uid if len(uid) <= 28 else f"\u2026{uid[-27:]}"
        title = f"{name} at ({where}) mm LPS, {bounds[0]:g} to {bounds[1]:g} HU"
        typer.echo(save_png(planes_figure(hu, (x, y, z), window=bounds, title=title), png))
    say(
        f"{' x '.join(map(str, hu.shape))} voxels (z, y, x), "
        f"{' x '.join(f'{n * s:g}' for n, s in zip(hu.shape[::-1], spacing_mm, strict=True))} mm "
        f"(x, y, z) around ({where}) mm LPS; {hu.min():.0f} to {hu.max():.0f} HU, "
        f"{hu[tuple(n // 2 for n in hu.shape)]:.0f} HU in the middle"
    )
