"""What stands beside the networks of a run: one check before the training, one call after it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.errors import FoldsError
from nodulenet.patches.folds import Folds
from nodulenet.patches.store import PatchStore
from nodulenet.training.baselines import baseline_predictions, check_baselines
from nodulenet.training.others import other_predictions
from nodulenet.training.prediction_rows import joined
from nodulenet.training.stacking import check_stacks, stack_predictions


@dataclass(frozen=True)
class Beside:
    """Predictions of baselines, stacks and others.

    Attributes:
        rows: Rows of the predictions table, with ``kind``.
        not_available: ``{"label", "why"}`` of what could not be made.
        notes: What was decided.
    """

    rows: pd.DataFrame
    not_available: tuple[dict[str, str], ...]
    notes: tuple[str, ...]


def check_beside(config: Config, findings: pd.DataFrame, folds: Folds) -> None:
    """Refuse before hours of training what :func:`predictions_beside` would refuse after them.

    Raises:
        FindingsError: a covariate is absent, empty or says the label.
        FoldsError: an inner part has too few findings of a label for a stack.
        PredictionsError: predictions of others are absent or wrong.
    """
    withheld = label_columns(config)
    shared = config.folds.allow_shared_patients
    check_baselines(config.baselines, findings, withheld=withheld)
    check_stacks(config.stacks, findings, folds, allow_shared_patients=shared, withheld=withheld)
    other_predictions(config.others, findings, folds)


def predictions_beside(
    config: Config,
    findings: pd.DataFrame,
    folds: Folds,
    patches: PatchStore,
    predictions: pd.DataFrame,
) -> Beside:
    """Baselines, stacks and predictions of others on the folds of a run.

    Args:
        config: What is wanted.
        findings: The findings of the folds, in their order, with ``position`` in the store.
        folds: The folds.
        patches: The store.
        predictions: Rows of the networks, which stacks are made on.

    Raises:
        FindingsError, PredictionsError: as of :func:`check_beside`.
    """
    withheld = label_columns(config)
    baselines = baseline_predictions(
        config.baselines,
        findings,
        folds,
        patches,
        allow_shared_patients=config.folds.allow_shared_patients,
        withheld=withheld,
    )
    stacks, without = [], []
    made = set(predictions["model"])
    for stack in config.stacks:
        if stack.model not in made:
            why = f"there are no predictions of {stack.model}"
            without.append({"label": stack.key, "why": why})
            continue
        try:
            rows = stack_predictions(
                [stack], predictions, findings, seed=config.seed, withheld=withheld
            )
        except FoldsError as error:
            # After a unit has failed there may be too few inner rows; the others stay.
            without.append({"label": stack.key, "why": str(error)})
        else:
            stacks.append(rows)
    others = other_predictions(config.others, findings, folds)
    tables = [table for table in (*stacks, baselines.rows, others) if len(table)]
    return Beside(joined(tables), (*baselines.not_available, *without), baselines.notes)


def label_columns(config: Config) -> set[str]:
    """Columns that labels and targets are made from."""
    found = set()
    if config.label_rule is not None:
        found.add(config.label_rule.column)
    if config.target is not None:
        found.add(config.target.column)
    return found
