"""Stacks: the probability of a network and covariates, joined by a logistic model.

The network has seen its training part, so its probabilities there are too good to weigh anything
with. A stack is fitted on the inner rows of each fold alone and answers for the outer rows. For
its own inner rows, from which its thresholds come, it is fitted on the inner part without them.

An inner part has a few dozen positives. A free fit on them scatters from fold to fold, and so does
the scale of the answers, by which pooled figures lose more than covariates win. Therefore the
network's logit goes in as it is, and the fit says how far to depart from it: the coefficients are
shrunk to 1 for the logit and to 0 for the intercept, hardly for the covariates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import StackConfig
from nodulenet.errors import FoldsError
from nodulenet.evaluation.kinds import STACK
from nodulenet.evaluation.logistic import fit_logistic, logit
from nodulenet.patches.folds import Folds
from nodulenet.seeds import child_seed
from nodulenet.training.covariates import covariates, logistic_model, terms
from nodulenet.training.fitted_stack import FittedStack, NumberTerm, WordTerm
from nodulenet.training.prediction_rows import joined

# Findings of each label that a coefficient needs in an inner part; half of the usual ten events a
# variable, because the model is penalised and has few.
LEAST_A_TERM = 5
_PIECES = 5
# Inverse variances of the normal priors: of the intercept, of the logit's departure from 1, of
# each covariate. Chosen on inner rows of lidc_2d (docs/results.md), where ten times the second or
# nothing of the third made no difference.
_RIDGE_INTERCEPT, _RIDGE_LOGIT, _RIDGE_COVARIATE = 100.0, 10.0, 1.0
_LOGIT = "logit of the network"


def stack_predictions(
    stacks: Sequence[StackConfig],
    predictions: pd.DataFrame,
    findings: pd.DataFrame,
    *,
    seed: int = 0,
    withheld: Collection[str] = (),
) -> pd.DataFrame:
    """Fit every stack on the inner rows of its model and apply it to the outer ones.

    Args:
        stacks: Which; one whose model has no rows is left out.
        predictions: Rows of the networks: ``finding_id, patient_id, fold, model, split, label,
            probability``, and what travels with them.
        findings: ``finding_id`` and the covariates.
        seed: Root seed of the pieces of the inner parts. Defaults to 0.
        withheld: Columns that labels or targets are made from, refused as covariates. Defaults to
            none.

    Returns:
        Inner and outer rows of every stack, in the columns of ``predictions``, with ``kind``.

    Raises:
        FindingsError: a covariate is absent, empty or says the label.
        FoldsError: an inner part has too few findings of a label.

    Source: Wolpert D. H., Neural Networks 5:241-259, 1992.
    """
    tables = []
    for stack in stacks:
        rows = predictions[(predictions["model"] == stack.model) & predictions["label"].notna()]
        if rows.empty:
            continue
        rows = rows.reset_index(drop=True)
        design = _design(stack, rows, findings, withheld)
        labels = rows["label"].to_numpy(dtype=np.int64)
        for fold, of_fold in rows.groupby("fold", sort=True):
            is_inner = (of_fold["split"] == "inner").to_numpy()
            inner, outer = of_fold.index[is_inner].to_numpy(), of_fold.index[~is_inner].to_numpy()
            patients = rows["patient_id"].to_numpy()[inner]
            number = int(str(fold))
            _check(stack, number, labels[inner], patients, terms(design.iloc[inner]))
            own_seed = child_seed(seed, "stack", stack.key, number)
            answers = np.concatenate(
                [
                    _crossed(stack, number, design.iloc[inner], labels[inner], patients, own_seed),
                    _answers(fit_stack(design.iloc[inner], labels[inner]), design.iloc[outer]),
                ]
            )
            own = rows.loc[np.concatenate([inner, outer])]
            tables.append(own.assign(model=stack.key, probability=answers, kind=STACK))
    return joined(tables)


def check_stacks(
    stacks: Sequence[StackConfig],
    findings: pd.DataFrame,
    folds: Folds,
    *,
    allow_shared_patients: bool = False,
    withheld: Collection[str] = (),
) -> None:
    """Refuse before a training what would be refused after it.

    Raises:
        FindingsError: as of :func:`stack_predictions`.
        FoldsError: as there.
    """
    labelled = findings["label"].notna().to_numpy(dtype=bool)
    for stack in stacks:
        table = covariates(
            findings[labelled], stack.columns, f"stack {stack.key}", withheld=withheld
        ).reindex(findings.index)
        for fold in folds.folds:
            pieces = [
                folds.parts(fold, piece, allow_shared_patients=allow_shared_patients).inner
                for piece in range(folds.pieces)
            ]
            inner = np.concatenate(pieces)
            inner = inner[labelled[inner]]
            own = findings.iloc[inner]
            labels = own["label"].to_numpy(dtype=np.int64)
            count = 1 + terms(table.iloc[inner])
            _check(stack, fold, labels, own["patient_id"].to_numpy(), count)


def _design(
    stack: StackConfig, rows: pd.DataFrame, findings: pd.DataFrame, withheld: Collection[str]
) -> pd.DataFrame:
    """The network's logit and the covariates, a row a prediction."""
    # Asked of these findings alone: what others lack is of no concern here.
    own = findings[findings["finding_id"].isin(rows["finding_id"])]
    table = covariates(own, stack.columns, f"stack {stack.key}", withheld=withheld)
    table = table.set_index(own["finding_id"].to_numpy()).loc[rows["finding_id"].to_numpy()]
    table.insert(0, _LOGIT, logit(rows["probability"]))
    return table.reset_index(drop=True)


def _check(
    stack: StackConfig,
    fold: int,
    labels: npt.NDArray[np.int64],
    patients: npt.NDArray[Any],
    count: int,
) -> None:
    needed = LEAST_A_TERM * count
    for label, name in ((0, "negative"), (1, "positive")):
        found = int((labels == label).sum())
        if found < needed or len(set(patients[labels == label])) < 2:
            raise FoldsError(
                f"fold {fold}: stack {stack.key} needs at least {needed} {name} findings of two "
                f"patients or more in the inner part ({LEAST_A_TERM} for each of its {count} "
                f"terms), found {found}; use a larger folds.inner_fraction, folds.inner_rotation "
                f"or fewer columns"
            )


def fit_stack(table: pd.DataFrame, labels: npt.NDArray[np.int64]) -> FittedStack:
    """Fit one stack.

    Args:
        table: the network's logit and the covariates, a row a finding.
        labels: 0 or 1, (n,).
    """
    others = table.drop(columns=_LOGIT)
    prepare = logistic_model(others)[:-1].fit(others)
    design = np.vstack(
        [np.ones(len(table)), table[_LOGIT].to_numpy(), np.asarray(prepare.transform(others)).T]
    )
    ridge = np.full(len(design), _RIDGE_COVARIATE)
    ridge[:2] = _RIDGE_INTERCEPT, _RIDGE_LOGIT
    fit = fit_logistic(
        design, labels.astype(np.float64), offset=table[_LOGIT].to_numpy(), ridge=ridge
    )
    # Where network and covariates part the few inner findings without a mistake, nothing is added.
    weights = np.zeros(len(design)) if fit is None else fit.coefficients
    return _as_numbers(prepare[0], weights)


def _as_numbers(design: Any, weights: npt.NDArray[np.float64]) -> FittedStack:
    """What scikit-learn's fitted columns do with a row, and the weights of what they give."""
    (_, scaling, number_columns), (_, coding, word_columns) = design.transformers_[:2]
    numbers, words = [], []
    rest = iter(weights[2:].tolist())
    if number_columns:
        fills, scaler = scaling[0].statistics_, scaling[1]
        numbers = [
            NumberTerm(column, float(fill), float(mean), float(scale), next(rest))
            for column, fill, mean, scale in zip(
                number_columns, fills, scaler.mean_, scaler.scale_, strict=True
            )
        ]
    if word_columns:
        for column, known, rare in zip(
            word_columns, coding.categories_, coding.infrequent_categories_, strict=True
        ):
            seldom = set() if rare is None else set(rare)
            of_word = {str(word): next(rest) for word in known if word not in seldom}
            # Without rare words there is no column for them: words never seen add nothing.
            words.append(WordTerm(column, of_word, next(rest) if seldom else 0.0))
    return FittedStack(float(weights[0]), float(weights[1]), tuple(numbers), tuple(words))


def fitted_stacks(
    stack: StackConfig,
    predictions: pd.DataFrame,
    findings: pd.DataFrame,
    *,
    withheld: Collection[str] = (),
) -> dict[int, FittedStack]:
    """The stack of each fold, as :func:`stack_predictions` applies it to the outer rows.

    Args:
        stack, predictions, findings, withheld: as there.

    Raises:
        FindingsError: as there.
    """
    rows = predictions[(predictions["model"] == stack.model) & predictions["label"].notna()]
    rows = rows[rows["split"] == "inner"].reset_index(drop=True)
    design = _design(stack, rows, findings, withheld)
    return {
        int(str(fold)): fit_stack(design.loc[own.index], own["label"].to_numpy(dtype=np.int64))
        for fold, own in rows.groupby("fold", sort=True)
    }


def _answers(fitted: FittedStack, table: pd.DataFrame) -> npt.NDArray[np.float64]:
    return fitted.apply(table[_LOGIT], table)


def _crossed(
    stack: StackConfig,
    fold: int,
    table: pd.DataFrame,
    labels: npt.NDArray[np.int64],
    patients: npt.NDArray[Any],
    seed: int,
) -> npt.NDArray[np.float64]:
    """Probabilities of the inner rows, each from a fit without the patients of its piece."""
    from sklearn.model_selection import StratifiedGroupKFold

    holders = min(len(set(patients[labels == label])) for label in (0, 1))
    splitter = StratifiedGroupKFold(min(_PIECES, holders), shuffle=True, random_state=seed)
    found = np.full(len(labels), np.nan)
    for fitted, left_out in splitter.split(table, labels, patients):
        if len(set(labels[fitted])) < 2:
            raise FoldsError(
                f"fold {fold}: stack {stack.key} cannot be fitted on part of the inner patients, "
                f"of whom too few have a finding of each label; use a larger folds.inner_fraction"
            )
        found[left_out] = _answers(
            fit_stack(table.iloc[fitted], labels[fitted]), table.iloc[left_out]
        )
    return found
