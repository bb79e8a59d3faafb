"""Benign against malignant on LIDC-IDRI: readers' ratings as labels, folds by patient.

``python -m pipelines.lidc_malignancy`` with LIDC_2D_ROOT set to a folder with ``patches.npz`` and
``table.csv``. The label is what readers thought, not what pathology found; the diameter alone is
a strong predictor of it, so the table ends with every model's difference to the diameter.
"""

from __future__ import annotations

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.progress import Progress
from nodulenet.workflow import WorkflowResult, run
from pipelines.stages import run_recipe


def lidc_malignancy(config: Config, progress: Progress) -> WorkflowResult:
    """Rated nodules in; cross-validated malignancy models, beside the diameter alone, out."""
    if config.label_meaning == "candidate":
        raise ConfigError("label_meaning: is candidate, expected reader_rating or outcome here")
    # 1. every nodule at one spacing, so that size in mm is kept
    # 2. the audit: patients and (near-)identical patches that two folds could share
    # 3. every model on the same folds by patient, from a fresh start each
    # 4. the models against each other and against the diameter alone
    return run(config, progress=progress)


if __name__ == "__main__":
    run_recipe(lidc_malignancy, "lidc_2d")
