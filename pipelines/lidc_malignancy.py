"""Benign against malignant on LIDC-IDRI: readers' ratings as labels, folds by patient.

``python -m pipelines.lidc_malignancy`` with LIDC_2D_ROOT set to a folder with ``patches.npz`` and
``table.csv``. The label is what readers thought, not what pathology found; the diameter alone is
a strong predictor of it, so the table ends with every model's difference to the diameter.
"""

from __future__ import annotations

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.inference.bundle import write_bundle
from nodulenet.patches.prepare import prepare
from nodulenet.progress import Progress
from nodulenet.report.publish import Report
from nodulenet.report.run import report_on_run
from nodulenet.training.kfold import train
from pipelines.stages import heading, run_recipe


def lidc_malignancy(config: Config, progress: Progress) -> tuple[Report, list[dict[str, str]]]:
    """Rated nodules in; cross-validated malignancy models, beside the diameter alone, out."""
    if config.label_meaning == "candidate":
        raise ConfigError("label_meaning: is candidate, expected reader_rating or outcome here")

    heading(1, 3, "prepare: every nodule at one spacing, so that size in mm is kept")
    prepared = prepare(config, progress=progress)

    heading(2, 3, f"train: {len(config.models)} models, folds by patient")
    trained = train(config, progress=progress)
    labels = trained.folds.table["label"]
    progress.say(f"{int((labels == 0).sum())} benign and {int(labels.sum())} malignant ratings")
    write_bundle(trained.run, trained.predictions, trained.values)

    heading(3, 3, "evaluate: against each other and against the diameter alone")
    return report_on_run(trained.run), [*prepared.failures, *trained.failures]


if __name__ == "__main__":
    run_recipe(lidc_malignancy, "lidc_2d")
