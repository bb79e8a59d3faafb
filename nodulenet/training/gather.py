"""From finished units to ``predictions.csv``: seeds averaged, and what is derived from them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nodulenet.config.schema import Config, ModelConfig, poses_name
from nodulenet.evaluation.kinds import NETWORK
from nodulenet.patches.source import LoadedSource
from nodulenet.patches.store import PatchStore
from nodulenet.progress import Progress
from nodulenet.training.comparison import predictions_beside
from nodulenet.training.data import TrainingData
from nodulenet.training.held_out import stream_held_out
from nodulenet.training.prediction_rows import joined
from nodulenet.training.run import Run, Unit
from nodulenet.training.unit import POSES


@dataclass(frozen=True)
class Gathered:
    """All predictions of a run.

    Attributes:
        predictions: inner and outer rows of every model, baseline, stack and other.
        notes: what people should know.
        failures: ``{"what", "error"}`` of what could not be predicted.
        not_available: ``{"label", "why"}`` of baselines and stacks that could not be made.
    """

    predictions: pd.DataFrame
    notes: list[str]
    failures: list[dict[str, str]]
    not_available: list[dict[str, str]]


def gather(
    run: Run,
    config: Config,
    data: TrainingData,
    store: PatchStore,
    units: list[Unit],
    source: LoadedSource,
    progress: Progress,
) -> Gathered:
    """Write ``predictions.csv`` over the finished units.

    Held-out candidates that are not in the store are read from their scans and scored first.
    """
    streamed, failures = stream_held_out(run, config, data, store, units, source, progress)
    tables = [
        table
        for model in config.models
        for table in _model_tables(run, model, [u for u in units if u.model == model.key])
    ]
    networks = pd.concat([*tables, *streamed], ignore_index=True)
    findings = data.findings.assign(position=data.findings["position"].where(data.stored))
    beside = predictions_beside(config, findings, data.folds, store, networks)
    # With --folds the others have no networks to be compared with yet.
    rows = beside.rows[beside.rows["fold"].isin(set(networks["fold"]))]
    predictions = joined([networks.assign(kind=NETWORK), rows])
    notes = list(beside.notes)
    if left := _missing_seeds(config, units):
        notes.append(f"means over fewer seeds than configured, because units are missing: {left}")
    return Gathered(run.save_predictions(predictions), notes, failures, list(beside.not_available))


def _missing_seeds(config: Config, units: list[Unit]) -> str:
    counts: dict[tuple[str, int], int] = {}
    for unit in units:
        counts[unit.model, unit.fold] = counts.get((unit.model, unit.fold), 0) + 1
    return ", ".join(
        f"{model} fold {fold} ({count} of {config.train.seeds})"
        for (model, fold), count in counts.items()
        if count < config.train.seeds
    )


def _model_tables(run: Run, model: ModelConfig, units: list[Unit]) -> list[pd.DataFrame]:
    """Rows of a model, and of its mean over test-time poses, folds rising."""
    tables = []
    for fold in sorted({u.fold for u in units}):
        seeds = [run.unit_predictions(u) for u in units if u.fold == fold]
        tables.append(mean_over_seeds(seeds))
    if not tables:
        return []
    rows = pd.concat(tables, ignore_index=True)
    if POSES not in rows.columns:
        return [rows]
    posed = rows.assign(model=poses_name(model), probability=rows[POSES]).drop(columns=POSES)
    return [rows.drop(columns=POSES), posed]


def mean_over_seeds(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One row a finding and part of a fold: the mean over its seeds.

    With rotating inner pieces a finding is in the inner part of one seed alone, whose answer stays.
    """
    if len(tables) == 1:
        return tables[0]
    every = pd.concat(tables, ignore_index=True)
    values = [c for c in ("probability", POSES) if c in every.columns]
    key = ["split", "finding_id"]
    means = every.groupby(key, sort=False)[values].mean().reset_index()
    once = every.drop(columns=values).drop_duplicates(key)
    return once.merge(means, on=key, how="left", validate="one_to_one")[list(tables[0].columns)]
