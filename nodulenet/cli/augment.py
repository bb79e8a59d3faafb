"""``nodulenet augment``: what augmentation does, as a picture and as a list of transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodulenet.cli.arguments import ConfigArgument, OverridesArgument


def augment(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Picture: originals beside augmented patches (.png)."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, max=20, help="Augmented patches beside each original.")
    ] = 6,
    findings: Annotated[
        str | None,
        typer.Option(metavar="ID[,ID]...", help="Which findings; default four of the store."),
    ] = None,
) -> None:
    """Print the augmentation of CONFIG as MONAI transforms; --preview shows what it does.

    The picture needs the store that `prepare` makes.
    """
    from nodulenet.cli.terminal import say
    from nodulenet.config.load import load_config
    from nodulenet.patches.check import check_config
    from nodulenet.patches.source import load_source
    from nodulenet.training.transform import transform_text

    settings = load_config(config, overrides or [])
    check_config(settings)
    source = load_source(settings)
    typer.echo(transform_text(settings.patch, settings.train.augment, source.values))
    if preview is None:
        return
    from nodulenet.patches.prepare import store_folder
    from nodulenet.patches.store import PatchStore
    from nodulenet.plots.render import save_png
    from nodulenet.training.preview import preview_figure

    ids = [part.strip() for part in findings.split(",")] if findings else []
    store = PatchStore(store_folder(settings, source))
    figure = preview_figure(settings, store, count=count, findings=ids)
    say(f"augmented patches: {save_png(figure, preview)}")
