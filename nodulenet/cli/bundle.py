"""``nodulenet bundle``: a trained run as one directory or file to pass on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodulenet.cli.arguments import words


def bundle(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A trained run directory.")],
    out: Annotated[Path, typer.Option("--out", metavar="NAME", help="New directory, or NAME.zip.")],
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Pack these networks only; default all."),
    ] = None,
) -> None:
    """Pack a run: models, calibration, thresholds, limits of the training, model card."""
    from nodulenet.cli.terminal import say
    from nodulenet.inference.pack import pack_bundle

    written = pack_bundle(run, out, models=words(models, "--models"))
    typer.echo(str(written))
    say("model_card.md says what was tested and what was not; research use only")
