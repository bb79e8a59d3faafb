"""``nodulenet train``: k-fold training to out-of-fold predictions."""

from __future__ import annotations

import typer

from nodulenet.cli.arguments import ConfigArgument, OverridesArgument


def train(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Train every model on every fold; finished units are not repeated. Needs `prepare` before."""
    from nodulenet.cli.terminal import end, make_progress
    from nodulenet.config.load import load_config
    from nodulenet.patches.check import check_config
    from nodulenet.patches.prepare import open_store

    # What is wrong is told before TensorFlow is imported, which takes ten seconds.
    settings = load_config(config, overrides or [])
    check_config(settings)
    open_store(settings)
    from nodulenet.inference.bundle import write_bundle
    from nodulenet.training.kfold import train as train_folds

    progress = make_progress()
    trained = train_folds(settings, progress=progress)
    write_bundle(trained.run, trained.predictions, trained.values)
    progress.say(f"{trained.made} models trained, {trained.reused} were there")
    typer.echo(trained.run.path)
    end(trained.failures, done=trained.made + trained.reused)
