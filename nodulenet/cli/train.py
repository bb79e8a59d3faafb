"""``nodulenet train``: k-fold training to out-of-fold predictions."""

from __future__ import annotations

from typing import Annotated

import typer

from nodulenet.cli.arguments import (
    ConfigArgument,
    FoldsOption,
    JsonOption,
    ModelsOption,
    OverridesArgument,
    SchedulerOption,
    whole_numbers,
    words,
)


def train(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    folds: FoldsOption = None,
    models: ModelsOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Units (model, fold, seed) at a time; default 1."),
    ] = None,
    scheduler: SchedulerOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what it would take, by a few timed steps; no more."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train every model on every fold; finished units are not repeated. Needs `prepare` before.

    Stopped at any moment and started again, a unit goes on after its last finished epoch.
    """
    from nodulenet.cli.terminal import end, make_progress
    from nodulenet.config.load import load_config
    from nodulenet.errors import UsageError
    from nodulenet.patches.check import check_config
    from nodulenet.patches.prepare import open_store
    from nodulenet.training.selection import check_choice, check_workers, chosen_models
    from nodulenet.workflow import train_and_bundle

    # What is wrong is told before TensorFlow is imported, which takes ten seconds.
    if as_json and not dry_run:
        raise UsageError("train: --json belongs to --dry-run")
    settings = load_config(config, overrides or [])
    check_config(settings)
    wanted_folds = whole_numbers(folds, "--folds", "0,3")
    wanted_models = words(models, "--models")
    check_choice(settings, wanted_folds, wanted_models)
    check_workers(settings, jobs, scheduler)
    open_store(settings)
    if dry_run:
        from nodulenet.cli.estimate import show_estimate
        from nodulenet.training.estimate import estimate_training

        names = chosen_models(settings, wanted_models)
        chosen = [m for m in settings.models if m.key in names]
        estimate = estimate_training(
            settings.model_copy(update={"models": chosen}), folds=wanted_folds, jobs=jobs or 1
        )
        show_estimate(estimate.lines(), estimate.to_dict(), as_json=as_json)
        return
    trained = train_and_bundle(
        settings,
        folds=wanted_folds,
        models=wanted_models,
        jobs=jobs,
        scheduler=scheduler,
        progress=make_progress(),
    )
    typer.echo(trained.run.path)
    end(trained.failures, done=trained.made + trained.reused)
