"""The model against each reader, and beside each reader against the consensus of the others.

For reader r, the truth is the consensus of the other readers of the finding. Against it stand the
ratings of r and the scores of the model, on the same findings, paired by patient. Neither has had
a say in that truth, which would flatter the one that had.

What this does not do: take readers as a sample of all readers. The intervals resample patients and
hold for these readers. For readers as a random factor write the tables for iMRMC or MRMCaov
(:mod:`nodulenet.evaluation.mrmc_files`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import Floats, shown
from nodulenet.evaluation.bootstrap import (
    METHOD,
    auc_bootstrap,
    auc_interval,
    auc_replicates,
)
from nodulenet.evaluation.compare import difference_of, two_sided_p
from nodulenet.evaluation.confusion import confusion
from nodulenet.evaluation.consensus import INDETERMINATE, TOO_FEW, ConsensusRule, reader_consensus
from nodulenet.evaluation.interval import LEVEL, Interval, percentile_interval
from nodulenet.evaluation.ratings import Ratings
from nodulenet.evaluation.roc import auc, delong
from nodulenet.evaluation.table import outer_rows

MEAN, MEAN_OF_SLOTS, ANY = "mean of readers", "mean of slots", "any reading"


@dataclass(frozen=True, kw_only=True)
class ReaderComparison:
    """The model and the readers, each reader against the consensus of the others.

    Attributes:
        rows: One row a rating that could be judged: ``finding_id, patient_id, reader, rating,
            others`` (their median), ``label`` (0 or 1, what the others say), ``score`` (the
            model's).
        left_out: Reader (index) -> ratings that could not be judged: ``not_rated`` by the reader,
            ``too_few_others``, ``indeterminate`` (the others' median lies in the middle),
            ``no_score`` of the model.
        readers: One dictionary a reader; see :func:`model_against_readers`.
        mean: The mean over the readers, likewise.
        any_reading: All ratings together, likewise.
        rule: Of the consensus.
        cut: From which rating on a reader calls a finding positive.
        persons: Whether readers are persons; else they are reading slots.
        notes: What to know, for people.
    """

    rows: pd.DataFrame
    left_out: pd.DataFrame
    readers: list[dict[str, Any]]
    mean: dict[str, Any]
    any_reading: dict[str, Any]
    rule: ConsensusRule
    cut: int
    persons: bool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the rows."""
        return {
            "readers": self.readers,
            "mean": self.mean,
            "any_reading": self.any_reading,
            "left_out": {str(r): row.to_dict() for r, row in self.left_out.iterrows()},
            "negative_up_to": self.rule.negative_up_to,
            "positive_from": self.rule.positive_from,
            "fewest_others": self.rule.fewest,
            "cut": self.cut,
            "persons": self.persons,
            "notes": list(self.notes),
        }

    def table(self) -> pd.DataFrame:
        """A row a reader, then the mean and all readings together; flat, for a spreadsheet.

        ``reader, findings, ratings, positives`` (ratings of positive findings), ``reader_auc,
        model_auc, difference`` (model minus reader), each with ``_low`` and ``_high``,
        ``p_value`` (bootstrap), ``sensitivity, specificity`` (the reader's, at the cut),
        ``model_auc_own`` (the model against this reader's own ratings) with ``_low`` and
        ``_high``, and ``own_findings``; None where there is nothing.
        """
        return pd.DataFrame([_flat(row) for row in (*self.readers, self.mean, self.any_reading)])


def model_against_readers(
    ratings: Ratings,
    scores: pd.Series[Any],
    *,
    rule: ConsensusRule | None = None,
    cut: int = 4,
    n_bootstrap: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> ReaderComparison:
    """Compares a model with each reader, and both with the consensus of the other readers.

    Args:
        ratings: Of :func:`nodulenet.evaluation.ratings.read_ratings`.
        scores: The model's score of each finding, larger for positives, indexed by finding_id
            (:func:`finding_scores` takes them from a predictions table). Findings without one are
            left out and counted.
        rule: Of the consensus of the others. Defaults to a median up to 2 negative, from 4 on
            positive, of at least two others.
        cut: From which rating on a reader calls a finding positive, for sensitivity and
            specificity. Defaults to 4.
        n_bootstrap: Resamples of the patients. Defaults to 2000.
        seed: Root seed. Defaults to 0.
        level: Confidence level. Defaults to 0.95.

    Returns:
        A :class:`ReaderComparison`. Each of its ``readers`` holds ``reader, findings, patients,
        positives, available`` (False, with ``why``, where the findings do not hold both classes),
        ``reader_auc`` and ``model_auc`` (``{value, patient_bootstrap}``), ``difference`` (of
        :meth:`nodulenet.evaluation.compare.AucDifference.to_dict`, model minus reader),
        ``operating_point`` (the reader's sensitivity and specificity at the cut) and ``own``: the
        AUC of the model against this reader's own ratings, where the middle is left out. ``mean``
        has the mean over readers of both AUCs and of the difference, from resamples that all
        readers share. ``any_reading`` takes all ratings as those of one reader: what to look at
        where columns are no persons; a finding counts in it once a rating, so that it has no
        DeLong interval.

    Raises:
        UsageError: the cut is not on the scale.
        PredictionsError: scores that are not finite or that name a finding twice; no finding is in
            both; no reader can be judged.
    """
    if rule is None and ratings.levels != (1, 2, 3, 4, 5):
        raise UsageError(
            f"ratings of {ratings.levels[0]} to {ratings.levels[-1]}: the default rule and cut are "
            "for 1 to 5; give rule=ConsensusRule(negative_up_to=..., positive_from=...) and cut=..."
        )
    rule = rule or ConsensusRule()
    if not 0 < level < 1 or n_bootstrap < 0:
        raise UsageError(
            f"readers: level={level}, n_bootstrap={n_bootstrap}; expected a level between 0 and 1 "
            "and resamples 0 or more, e.g. 0.95 and 2000"
        )
    if cut not in ratings.levels[1:]:
        raise UsageError(
            f"cut {cut}: expected a rating above the lowest, {ratings.levels[1]} to "
            f"{ratings.levels[-1]}"
        )
    score = checked_scores(scores, ratings)
    parts, left_out = [], {}
    for reader in ratings.readers:
        part, counts = _judged(ratings, score, rule, reader)
        parts.append(part)
        left_out[reader] = counts
    rows = pd.concat(parts, ignore_index=True)
    sampling: dict[str, Any] = {"n_bootstrap": n_bootstrap, "seed": seed, "level": level}
    readers, drawn = [], []
    for reader, part in zip(ratings.readers, parts, strict=True):
        row, replicates = _against(reader, part, rows["patient_id"], cut, sampling)
        readers.append(row | {"own": _own(ratings, score, rule, reader, sampling)})
        if replicates is not None:
            drawn.append(replicates)
    judged = [row for row in readers if row["available"]]
    if not judged:
        raise PredictionsError(
            f"{ratings.source}: no reader has findings of both classes by the others' consensus "
            f"({len(rows)} ratings could be judged); expected more findings, or another rule"
        )
    together, _ = _against(ANY, rows, rows["patient_id"], cut, sampling)
    # Rows of one finding are no independent rows.
    for name in ("delong", "delong_p_value"):
        together["difference"].pop(name)
    unscored = sum(counts["no_score"] for counts in left_out.values())
    notes = list(ratings.notes)
    if unscored:
        notes.append(
            f"{unscored} ratings that the others agree on have no score. Where only findings are "
            "scored that all readers together label, these are the ones on which a reader "
            "dissents: what is left flatters readers and model"
        )
    return ReaderComparison(
        rows=rows,
        left_out=pd.DataFrame.from_dict(left_out, orient="index"),
        readers=readers,
        mean=_mean(judged, drawn, level) | {"reader": MEAN if ratings.persons else MEAN_OF_SLOTS},
        any_reading=together | {"own": None},
        rule=rule,
        cut=cut,
        persons=ratings.persons,
        notes=tuple(notes),
    )


def finding_scores(predictions: pd.DataFrame, model: str | None = None) -> pd.Series[float]:
    """The score of each finding by one model: the mean of its outer rows.

    Args:
        predictions: Of :func:`nodulenet.evaluation.table.read_predictions`.
        model: The model; needed where the table has several. Defaults to None.

    Raises:
        PredictionsError: no such model, or several and none was named.
    """
    rows = outer_rows(predictions)
    models = list(dict.fromkeys(rows["model"]))
    if model is None and len(models) > 1:
        raise PredictionsError(
            f"the table has {len(models)} models ({', '.join(models)}); name the one that is to "
            "be compared with the readers"
        )
    wanted = models[0] if model is None else model
    if wanted not in models:
        raise PredictionsError(
            f"model {shown(wanted)} has no outer rows; the table has {', '.join(models)}"
        )
    own = rows[rows["model"] == wanted]
    return own.groupby("finding_id", sort=False)["probability"].mean()


def finding_values(table: pd.DataFrame, column: str) -> pd.Series[Any]:
    """One column of a table by finding: a truth, or a size that stands in for a model.

    Args:
        table: ``finding_id`` and the column; where a finding has several rows the first counts.
        column: Its name, e.g. ``"diameter_mm"``.

    Raises:
        PredictionsError: there is no such column.
    """
    for name in ("finding_id", column):
        if name not in table.columns:
            raise PredictionsError(
                f"{table.attrs.get('source', 'the table')}: column {name!r} is missing (found: "
                f"{', '.join(map(str, table.columns))}); name one that is there"
            )
    once = table.drop_duplicates("finding_id")
    return pd.Series(once[column].to_numpy(), index=once["finding_id"].astype(str), name=column)


def checked_scores(scores: pd.Series[Any], ratings: Ratings) -> pd.Series[float]:
    """The score of every finding of the ratings, NaN where it has none.

    Raises:
        PredictionsError: a finding twice, a score that is no finite number, or no finding in both.
    """
    named = scores.copy()
    named.index = named.index.astype(str)
    twice = named.index[named.index.duplicated()]
    if len(twice):
        raise PredictionsError(
            f"scores: finding {shown(str(twice[0]))} is there more than once; expected one score "
            "a finding (finding_scores takes the mean)"
        )
    values = pd.to_numeric(named, errors="coerce").astype("float64")
    wrong = named.notna() & ~np.isfinite(values)
    if wrong.any():
        finding = str(named.index[wrong][0])
        raise PredictionsError(
            f"scores: finding {shown(finding)} has {shown(named[finding])}; expected a finite "
            "number, or none where the model gave none"
        )
    found = values.reindex(ratings.table.index)
    if found.notna().sum() == 0:
        raise PredictionsError(
            f"{ratings.source}: none of its {len(found)} findings has a score (first finding "
            f"{shown(str(ratings.table.index[0]))}, first score of "
            f"{shown(str(named.index[0])) if len(named) else 'nothing'}); expected the same "
            "finding_id in both"
        )
    return found


def _judged(
    ratings: Ratings, score: pd.Series[float], rule: ConsensusRule, reader: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Ratings of a reader on which the others agree, and why the rest was left out."""
    others = reader_consensus(ratings, rule, without=reader)
    own = ratings.table[reader]
    rated = own.notna()
    enough = rated & (others["state"] != TOO_FEW)
    settled = enough & (others["state"] != INDETERMINATE)
    use = settled & score.notna()
    counts = {
        "not_rated": int((~rated).sum()),
        "too_few_others": int((rated & ~enough).sum()),
        "indeterminate": int((enough & ~settled).sum()),
        "no_score": int((settled & ~use).sum()),
        "judged": int(use.sum()),
    }
    rows = pd.DataFrame(
        {
            "finding_id": ratings.table.index[use],
            "patient_id": ratings.patients[use].to_numpy(),
            "reader": reader,
            "rating": own[use].to_numpy(),
            "others": others.loc[use, "median"].to_numpy(),
            "label": others.loc[use, "label"].to_numpy(),
            "score": score[use].to_numpy(),
        }
    ).astype({"label": "int8", "rating": "int64"})
    return rows, counts


def _against(
    name: str,
    rows: pd.DataFrame,
    everybody: pd.Series[str],
    cut: int,
    sampling: dict[str, Any],
) -> tuple[dict[str, Any], Floats | None]:
    """A reader and the model on the same rows, and the replicates of (model, reader)."""
    label, patients = rows["label"].to_numpy(), rows["patient_id"].to_numpy()
    level = sampling["level"]
    facts: dict[str, Any] = {
        "reader": name,
        "findings": int(rows["finding_id"].nunique()),
        "ratings": len(rows),
        "patients": int(rows["patient_id"].nunique()),
        "positives": int(label.sum()),
        "available": bool(np.unique(label).size == 2),
    }
    if not facts["available"]:
        why = "the findings that can be judged do not hold both classes"
        return facts | {"why": why}, None
    scores = rows[["score", "rating"]].to_numpy(np.float64).T
    # Of all patients, so that every reader has the same resamples and they can be averaged.
    replicates = auc_replicates(
        label,
        scores,
        patients,
        everybody=everybody,
        n_bootstrap=sampling["n_bootstrap"],
        seed=sampling["seed"],
    )
    difference = difference_of(delong(label, scores), replicates, 0, 1, level)
    point = confusion(label, scores[1], cut)
    facts |= {
        "model_auc": _figure(difference.first, auc_interval(replicates[0], level=level)),
        "reader_auc": _figure(difference.second, auc_interval(replicates[1], level=level)),
        "difference": difference.to_dict(),
        "operating_point": {
            "cut": cut,
            "sensitivity": point.proportion("sensitivity", level=level),
            "specificity": point.proportion("specificity", level=level),
        },
    }
    return facts, replicates


def _own(
    ratings: Ratings,
    score: pd.Series[float],
    rule: ConsensusRule,
    reader: str,
    sampling: dict[str, Any],
) -> dict[str, Any]:
    """The model against one reader's own ratings, those in the middle left out."""
    label = rule.labels(ratings.table[reader])
    use = label.notna() & score.notna()
    facts: dict[str, Any] = {"findings": int(use.sum()), "positives": int(label[use].sum())}
    if label[use].nunique() < 2:
        return facts | {"available": False, "why": "the reader's ratings do not hold both classes"}
    interval = auc_bootstrap(label[use], score[use], ratings.patients[use], **sampling)
    return facts | {
        "available": True,
        "model_auc": _figure(auc(label[use], score[use]), interval),
    }


def _mean(readers: list[dict[str, Any]], replicates: list[Floats], level: float) -> dict[str, Any]:
    """Means over readers; every resample drew the same patients for all of them."""
    model = float(np.mean([row["model_auc"]["value"] for row in readers]))
    reader = float(np.mean([row["reader_auc"]["value"] for row in readers]))
    # A resample in which one reader lacks a class has no mean.
    drawn: Floats = np.mean(replicates, axis=0)
    differences = drawn[0] - drawn[1]
    interval = percentile_interval(differences, level=level, method=METHOD)
    return {
        "readers": len(readers),
        "available": True,
        "model_auc": _figure(model, auc_interval(drawn[0], level=level)),
        "reader_auc": _figure(reader, auc_interval(drawn[1], level=level)),
        "difference": {
            "difference": model - reader,
            "patient_bootstrap": interval.to_dict(),
            "bootstrap_p_value": None if interval.low is None else two_sided_p(differences),
        },
    }


def _figure(value: float, interval: Interval) -> dict[str, Any]:
    return {"value": float(value), "patient_bootstrap": interval.to_dict()}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    difference = row.get("difference") or {}
    point = row.get("operating_point") or {}
    own = row.get("own") or {}
    return {
        "reader": row["reader"],
        "findings": row.get("findings"),
        "ratings": row.get("ratings"),
        "positives": row.get("positives"),
        **_limits("reader_auc", row.get("reader_auc"), "value"),
        **_limits("model_auc", row.get("model_auc"), "value"),
        **_limits("difference", difference, "difference"),
        "p_value": difference.get("bootstrap_p_value"),
        "sensitivity": point.get("sensitivity", {}).get("value"),
        "specificity": point.get("specificity", {}).get("value"),
        **_limits("model_auc_own", own.get("model_auc"), "value"),
        "own_findings": own.get("findings"),
    }


def _limits(name: str, figure: dict[str, Any] | None, value: str) -> dict[str, float | None]:
    limits = (figure or {}).get("patient_bootstrap") or {}
    return {
        name: (figure or {}).get(value),
        f"{name}_low": limits.get("low"),
        f"{name}_high": limits.get("high"),
    }
