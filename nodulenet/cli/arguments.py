"""Arguments that several verbs share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nodulenet.errors import UsageError

if TYPE_CHECKING:
    from nodulenet.config.schema import CsvFormat


def _shipped_names(incomplete: str) -> list[str]:
    """For the shell's completion; it completes files by itself."""
    from nodulenet.config.load import shipped_configs

    return [name for name in shipped_configs() if name.startswith(incomplete)]


ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or a name of `config --list`.",
        autocompletion=_shipped_names,
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, e.g. train.epochs=3."),
]

FoldsOption = Annotated[
    str | None, typer.Option(metavar="0,3", help="Train these folds only; default all.")
]
ModelsOption = Annotated[
    str | None, typer.Option(metavar="A,B", help="Train these models only; default all.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on the Dask cluster of this scheduler, e.g. tcp://HOST:8786, or its file.",
    ),
]

ScanArgument = Annotated[
    Path,
    typer.Argument(help="DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd."),
]
SpaceOption = Annotated[
    Literal["lps", "ras", "voxel"] | None,
    typer.Option(help="What x, y, z are: lps (default) or ras mm, voxel (column, row, slice)."),
]
SeriesOption = Annotated[
    str | None, typer.Option(metavar="UID", help="Which series of a folder with several.")
]
KeepIdsOption = Annotated[
    bool,
    typer.Option(
        "--keep-ids",
        help="Leave patient_id as it is, for public data; else a pseudonym by your key "
        "(docs/privacy.md).",
    ),
]
IrregularOption = Annotated[
    Literal["refuse", "resample"],
    typer.Option(help="Tilted or unevenly spaced DICOM slices: refuse, or resample them."),
]

CsvSeparatorOption = Annotated[
    Literal[",", ";", "tab"] | None,
    typer.Option("--csv-separator", help="Between the fields of a CSV of points; default ','."),
]
CsvDecimalOption = Annotated[
    Literal[".", ","] | None,
    typer.Option("--csv-decimal", help="Decimal sign in a CSV of points; default '.'."),
]
FirstPixelOption = Annotated[
    Literal["0", "0.5", "1"] | None,
    typer.Option(
        "--first-pixel",
        help="What row and column are at the first pixel's centre; default 0, as in most viewers.",
    ),
]

UseOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which of the run's models; default first.")
]

LevelOption = Annotated[
    float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the resamples.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def csv_format(
    separator: Literal[",", ";", "tab"] | None, decimal: Literal[".", ","] | None
) -> CsvFormat | None:
    """``--csv-separator`` and ``--csv-decimal`` for `read_points_file`; None: neither is given."""
    if separator is None and decimal is None:
        return None
    from nodulenet.config.schema import CsvFormat

    return CsvFormat(separator=separator or ",", decimal=decimal or ".")


def first_pixel_number(text: str | None) -> float | None:
    """``--first-pixel`` for `read_points_file`; None: not given."""
    return None if text is None else float(text)


def pairs(texts: list[str], option: str, example: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping.

    Raises:
        UsageError: one is not of that form.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name and value):
            raise UsageError(f"{option} {text!r}: expected NAME=VALUE, e.g. {option} {example}")
        found[name] = value
    return found


def words(text: str | None, option: str) -> list[str] | None:
    """The words of an option, with commas between them; None where it is not given.

    Raises:
        UsageError: it is given, but names nothing.
    """
    if text is None:
        return None
    found = [part.strip() for part in text.split(",")]
    if not all(found):
        raise UsageError(f"{option} {text!r}: expected names with commas between them")
    return found


def whole_numbers(text: str | None, option: str, example: str) -> list[int] | None:
    """The numbers of an option, from 0 on, with commas between them; None where it is not given.

    Raises:
        UsageError: they are something else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"{option} {text!r}: expected whole numbers from 0 on, with commas between them, e.g. "
            f"{option} {example}"
        )
    return [int(part) for part in parts]


def decimals(text: str | None, option: str, example: str) -> list[float]:
    """The numbers of an option, with commas between them; nothing where it is not given.

    Raises:
        UsageError: they are something else.
    """
    if text is None:
        return []
    return numbers(text, option, (text.count(",") + 1,), example)


def numbers(text: str, option: str, counts: tuple[int, ...], example: str) -> list[float]:
    """The numbers of an option, with commas between them.

    Raises:
        UsageError: not as many finite numbers.
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts or not all(map(math.isfinite, found)):
        words = " or ".join({1: "one", 2: "two", 3: "three"}.get(n, str(n)) for n in counts)
        raise UsageError(
            f"{option} {text!r}: expected {words} numbers with commas between them and a point as "
            f"decimal sign, e.g. {option} {example}"
        )
    return found
