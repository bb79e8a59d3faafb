"""``nodulenet prepare``: scans and findings to a patch store."""

from __future__ import annotations

from typing import Annotated

import typer

from nodulenet.cli.arguments import (
    ConfigArgument,
    JsonOption,
    OverridesArgument,
    SchedulerOption,
)
from nodulenet.errors import UsageError


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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it will take, from a timed sample; no store."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut the patches of all findings into a store; finished scans are not read again."""
    if as_json and not dry_run:
        raise UsageError("prepare: --json belongs to --dry-run")
    if dry_run and scheduler is not None:
        raise UsageError(
            "prepare: --dry-run times scans on this machine; give it without --scheduler"
        )
    from nodulenet.cli.terminal import end, make_progress, say, warn
    from nodulenet.config.load import load_config
    from nodulenet.patches.check import check_config
    from nodulenet.patches.prepare import prepare as prepare_store
    from nodulenet.phantom.for_config import ensure_phantom

    settings = load_config(config, overrides or [])
    # Before a phantom is generated, which takes its time.
    check_config(settings)
    progress = make_progress()
    ensure_phantom(settings, progress=progress)
    if dry_run:
        from nodulenet.cli.estimate import show_estimate
        from nodulenet.patches.estimate import estimate_preparation

        estimate = estimate_preparation(settings, jobs=jobs, progress=progress)
        for note in estimate.notes:
            say(f"note: {note}")
        show_estimate(estimate.lines(), estimate.to_dict(), as_json=as_json)
        estimate.refuse_if_too_large(settings)
        return
    prepared = prepare_store(settings, progress=progress, jobs=jobs, scheduler=scheduler)
    for text in prepared.warnings:
        warn(text)
    progress.say(
        f"{len(prepared.store)} patches in the store; {prepared.made} scans or pieces made, "
        f"{prepared.reused} were there"
    )
    typer.echo(prepared.store.path)
    end(prepared.failures, done=len(prepared.store))
