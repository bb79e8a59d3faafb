"""``nodulenet prepare``: scans and findings to a patch store."""

from __future__ import annotations

from typing import Annotated

import typer

from nodulenet.cli.arguments import ConfigArgument, OverridesArgument, SchedulerOption


def prepare(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Processes; default one a CPU, or none beside this for little work."
        ),
    ] = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Cut the patches of all findings into a store; finished scans are not read again."""
    from nodulenet.cli.terminal import end, make_progress, warn
    from nodulenet.config.load import load_config
    from nodulenet.patches.check import check_config
    from nodulenet.patches.prepare import prepare as prepare_store
    from nodulenet.phantom.for_config import ensure_phantom

    settings = load_config(config, overrides or [])
    # Before a phantom is generated, which takes its time.
    check_config(settings)
    progress = make_progress()
    ensure_phantom(settings, progress=progress)
    prepared = prepare_store(settings, progress=progress, jobs=jobs, scheduler=scheduler)
    for text in prepared.warnings:
        warn(text)
    progress.say(
        f"{len(prepared.store)} patches in the store; {prepared.made} scans or pieces made, "
        f"{prepared.reused} were there"
    )
    typer.echo(prepared.store.path)
    end(prepared.failures, done=len(prepared.store))
