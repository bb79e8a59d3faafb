"""``nodulenet train``: k-fold training to out-of-fold predictions."""

from __future__ import annotations

import typer

from nodulenet.cli.arguments import ConfigArgument, OverridesArgument


def train(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Train every model on every fold; finished units are not repeated. Needs `prepare` before."""
    from nodulenet.cli.terminal import end, make_progress
    from nodulenet.config.load import load_config
    from nodulenet.inference.bundle import write_bundle
    from nodulenet.training.kfold import train as train_folds

    settings = load_config(config, overrides or [])
    progress = make_progress()
    trained = train_folds(settings, progress=progress)
    write_bundle(trained.run, trained.predictions, trained.values)
    progress.say(f"{trained.made} models trained, {trained.reused} were there")
    typer.echo(trained.run.path)
    end(trained.failures, done=trained.made + trained.reused)
