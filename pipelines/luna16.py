"""The LUNA16 pipeline: candidates of nodules, the official subsets as folds, V1 beside V2.

``python -m pipelines.luna16 --config configs/luna16_v2_3d.yaml`` with LUNA16_ROOT set; with
``configs/demo.yaml`` it runs on synthetic scans and needs no data. Stopped at any moment and
started again, it goes on: finished scans and finished folds are not repeated.
"""

from __future__ import annotations

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.inference.bundle import write_bundle
from nodulenet.patches.prepare import prepare
from nodulenet.phantom.for_config import ensure_phantom
from nodulenet.progress import Progress
from nodulenet.report.publish import Report
from nodulenet.report.run import report_on_run
from nodulenet.training.kfold import train
from pipelines.stages import heading, run_recipe


def luna16(config: Config, progress: Progress) -> tuple[Report, list[dict[str, str]]]:
    """Scans and candidates in; models, out-of-fold ROC and FROC, and a report out."""
    if config.source.kind != "luna16":
        raise ConfigError(f"source.kind: is {config.source.kind}, expected luna16 here")
    heading(1, 4, "scans: the LUNA16 folder" + (", synthetic" if _on_phantom(config) else ""))
    ensure_phantom(config, progress=progress)

    heading(2, 4, "prepare: a patch in HU round every candidate")
    prepared = prepare(config, progress=progress)
    progress.say(
        f"{len(prepared.store)} patches; {prepared.made} scans read now, {prepared.reused} before"
    )

    names = " and ".join(m.key for m in config.models)
    heading(3, 4, f"train: {names} on the same folds, from a fresh start each")
    trained = train(config, progress=progress)
    write_bundle(trained.run, trained.predictions, trained.values)
    progress.say(f"{trained.made} models trained now, {trained.reused} before")

    heading(4, 4, "evaluate: ROC, FROC and the comparison on out-of-fold predictions")
    return report_on_run(trained.run), [*prepared.failures, *trained.failures]


def _on_phantom(config: Config) -> bool:
    return config.source.kind == "luna16" and config.source.phantom is not None


if __name__ == "__main__":
    run_recipe(luna16, "demo")
