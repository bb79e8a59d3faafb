"""The LUNA16 pipeline: candidates of nodules, the official subsets as folds, V1 beside V2.

``python -m pipelines.luna16 --config configs/luna16_v2_3d.yaml`` with LUNA16_ROOT set; with
``configs/demo.yaml`` it runs on synthetic scans and needs no data. Stopped at any moment and
started again, it goes on: finished scans and finished units are not repeated.

The same with more options (some folds, several processes, a cluster): ``nodulenet run CONFIG``.
"""

from __future__ import annotations

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.progress import Progress
from nodulenet.workflow import WorkflowResult, run
from pipelines.stages import run_recipe


def luna16(config: Config, progress: Progress) -> WorkflowResult:
    """Scans and candidates in; models, out-of-fold ROC and FROC, and a report out."""
    if config.source.kind != "luna16":
        raise ConfigError(f"source.kind: is {config.source.kind}, expected luna16 here")
    # 1. a patch in HU round every candidate, straight from its scan
    # 2. the audit: patients, series and (near-)identical patches that two folds could share
    # 3. every model on the same folds, from a fresh start each; what is finished is not repeated
    # 4. ROC, FROC by LUNA16's rules and paired comparisons, on out-of-fold predictions only
    return run(config, progress=progress)


if __name__ == "__main__":
    run_recipe(luna16, "demo")
