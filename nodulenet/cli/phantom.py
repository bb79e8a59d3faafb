"""``nodulenet phantom``: synthetic chest CT in the LUNA16 layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def phantom(
    out: Annotated[
        Path, typer.Argument(help="Folder to fill; one of the same settings is completed.")
    ],
    scans: Annotated[int, typer.Option(min=1, help="Number of scans.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 0,
    dicom: Annotated[bool, typer.Option("--dicom", help="Also OUT/dicom/UID/.")] = False,
    nifti: Annotated[bool, typer.Option("--nifti", help="Also OUT/nifti/UID.nii.gz.")] = False,
) -> None:
    """Generate synthetic chest CT with nodules and look-alikes, laid out as LUNA16."""
    from nodulenet.cli.terminal import make_progress
    from nodulenet.phantom import generate_phantom

    formats = ["metaimage", *(["dicom"] if dicom else []), *(["nifti"] if nifti else [])]
    generate_phantom(out, scans=scans, seed=seed, formats=formats, progress=make_progress())
    typer.echo(out)
