"""What the models of a table are: networks, stacks on them, baselines, or predictions of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd

NETWORK, STACK, OTHER = "network", "stack", "other"
BASELINE, ACQUISITION = "baseline", "acquisition"
KINDS = (NETWORK, STACK, OTHER, BASELINE, ACQUISITION)
WORDS = {
    NETWORK: "network",
    STACK: "stack",
    OTHER: "other",
    BASELINE: "baseline",
    ACQUISITION: "baseline",
}
"""How each is called."""


def model_kinds(table: pd.DataFrame) -> dict[str, str | None]:
    """Kind of each model, in the order of the table; None where nobody says.

    Args:
        table: ``model`` and, where it is known, ``kind``: one of :data:`KINDS`, or empty for a
            network. A column of that name that says something else is not ours, and is not read.
    """
    models = list(dict.fromkeys(table["model"]))
    if "kind" not in table.columns:
        return dict.fromkeys(models)
    given = table["kind"].fillna(NETWORK).astype(str)
    each = given.groupby(table["model"].to_numpy()).agg(["first", "nunique"])
    if (each["nunique"] > 1).any() or not set(each["first"]) <= set(KINDS):
        return dict.fromkeys(models)
    return {model: str(each.loc[model, "first"]) for model in models}


def is_baseline(kind: str | None) -> bool:
    """Whether a model is there to be compared with."""
    return kind in (BASELINE, ACQUISITION)


def pairs_of(kinds: Mapping[str, str | None], reference: str | None) -> list[tuple[str, str]]:
    """Which models are compared with each other: (first, second), baselines second.

    Baselines are not compared with each other, and what acquisition alone predicts is compared
    with nothing: it is a check of the labels, no competitor.

    Args:
        kinds: Of :func:`model_kinds`.
        reference: The model that is the second of each pair; None for every pair.
    """
    models = [model for model, kind in kinds.items() if kind != ACQUISITION]
    if reference is not None:
        return [(model, reference) for model in models if model != reference]
    ordered: Sequence[str] = sorted(models, key=lambda model: is_baseline(kinds[model]))
    return [
        (first, second)
        for first, second in combinations(ordered, 2)
        if not (is_baseline(kinds[first]) and is_baseline(kinds[second]))
    ]
