"""Which of a configuration's units are asked for: some of its models, some of its folds."""

from __future__ import annotations

from collections.abc import Sequence

from nodulenet.config.schema import Config, FoldsConfig
from nodulenet.cpus import usable_cpus
from nodulenet.errors import UsageError
from nodulenet.patches.folds import Folds
from nodulenet.training.run import Unit

_SUBSETS = 10


def chosen_models(config: Config, models: Sequence[str] | None) -> list[str]:
    """The names of the models to be trained, in the order of the configuration.

    Args:
        config: the configuration.
        models: names (``label``, else ``name``) that are asked for; None for all.

    Raises:
        UsageError: one of them is not in the configuration, or none is asked for.
    """
    known = [m.key for m in config.models]
    if models is None:
        return known
    for name in models:
        if name not in known:
            raise UsageError(
                f"models: the configuration has no {name!r}; it has {', '.join(known)}"
            )
    if not models:
        raise UsageError(f"models: none is asked for; the configuration has {', '.join(known)}")
    return [name for name in known if name in models]


def chosen_folds(known: Sequence[int], folds: Sequence[int] | None) -> list[int]:
    """The folds to be trained, rising.

    Args:
        known: the folds that there are.
        folds: those that are asked for; None for all.

    Raises:
        UsageError: one of them is not there, or none is asked for.
    """
    if folds is None:
        return sorted(known)
    there = ", ".join(map(str, sorted(known)))
    for fold in folds:
        if fold not in known:
            raise UsageError(f"folds: there is no fold {fold}; there are {there}")
    if not folds:
        raise UsageError(f"folds: none is asked for; there are {there}")
    return sorted(set(folds))


def check_choice(config: Config, folds: Sequence[int] | None, models: Sequence[str] | None) -> None:
    """Refuse what can be refused without the data.

    Raises:
        UsageError: a model that the configuration does not have, or a fold that it never makes.
    """
    chosen_models(config, models)
    known = _expected_folds(config.folds)
    if known is not None:
        chosen_folds(known, folds)


def check_workers(config: Config, jobs: int | None, scheduler: str | None) -> None:
    """Refuse a number of processes, or a cluster, that training would refuse.

    Raises:
        UsageError: both are given, or several processes without their number of threads.
    """
    if jobs is not None and scheduler is not None:
        raise UsageError("--jobs is for this machine, --scheduler for a cluster; give one of them")
    if jobs is not None and jobs > 1 and config.train.threads is None:
        raise UsageError(
            f"--jobs {jobs} needs train.threads, because the number of threads changes the results "
            f"in the last digits and must not change with --jobs; give train.threads="
            f"{max(1, usable_cpus() // jobs)}"
        )


def _expected_folds(folds: FoldsConfig) -> list[int] | None:
    """The folds that a configuration makes of any data; None where the data decide it."""
    if folds.kind == "grouped":
        return list(range(folds.count * folds.repeats))
    if folds.kind in ("luna16", "luna16_grouped"):
        return list(range(_SUBSETS // folds.subsets_per_fold))
    return [0] if folds.kind in ("holdout", "dates") else None


def units_of(
    config: Config,
    folds: Folds,
    only_folds: Sequence[int] | None = None,
    models: Sequence[str] | None = None,
) -> list[Unit]:
    """The units of a run, fold by fold, so that an interrupted run has whole folds first.

    Args:
        config: its models and seeds.
        folds: its folds.
        only_folds: these alone. Defaults to all.
        models: these alone. Defaults to all.

    Raises:
        UsageError: there is no such fold or model.
    """
    names = chosen_models(config, models)
    return [
        Unit(name, fold, seed)
        for fold in chosen_folds(folds.folds, only_folds)
        for name in names
        for seed in range(config.train.seeds)
    ]
