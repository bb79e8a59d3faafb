"""Tables for programs of multi-reader multi-case analysis: iMRMC and MRMCaov.

They take readers *and* cases as samples, which nothing here does, and say how far a result would
hold for other readers.

**MRMCaov** (R): a data frame with a row a rating, ``reader, treatment, case, truth, rating``, read
by ``read.csv`` and analysed by ``mrmc(empirical_auc(truth, rating), treatment, reader, case,
data = d)``. Every reader has to have every treatment; ratings may be missing with its default
covariance method (jackknife), its DeLong and unbiased methods want a complete table.

**iMRMC** (FDA, Java and R): text in which ``readerID,caseID,modalityID,score`` follow a line
``BEGIN DATA:``, with a row of truth for every case, score 0 or 1. The R package (``doAUCmrmc``)
wants readerID and modalityID of those rows to be ``truth``, the Java program the readerID ``-1``.
Ratings may be missing.

Both take cases as independent; several findings of a patient are not.

Sources: Smith B. J., Hillis S. L., Proc. SPIE 11316:113160K, 2020, and MRMCaov 0.3 (help of
``mrmc`` and ``VanDyke``); Gallas B. D. et al., Communications in Statistics A 38:2586-2603, 2009,
and github.com/DIDSR/iMRMC (help of ``dfMRMC_example``, ``doAUCmrmc``; ``InputFile.java``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.atomic import write_text
from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import shown
from nodulenet.evaluation.ratings import Ratings
from nodulenet.evaluation.readers import checked_scores

COLUMNS = ("reader", "treatment", "case", "truth", "rating")
TRUTH = {"R": "truth", "java": "-1"}
# Both programs split at commas; iMRMC drops blanks inside names, R takes quotes for its own.
_FORBIDDEN = (",", '"', "'", "\n", "\r")


def mrmc_table(
    ratings: Ratings,
    truth: pd.Series[Any],
    *,
    treatment: str = "readers",
    scores: pd.Series[Any] | None = None,
    model: str = "model",
    slots_as_readers: bool = False,
) -> pd.DataFrame:
    """One row a rating: what both programs are made from.

    Args:
        ratings: Of :func:`nodulenet.evaluation.ratings.read_ratings`.
        truth: 0 or 1 of each finding, indexed by finding_id; findings without are left out. It
            should come from elsewhere than these readers (pathology, follow-up).
        treatment: What the readings are called. Defaults to ``"readers"``.
        scores: Scores of a model by finding_id, as a second treatment. Neither program knows of a
            treatment without readers, so each reader is given the model's score of each finding
            that has that reader's rating; RJafroc calls this 2T-RRRC and prefers to compare
            readers with the model's AUC as a fixed value. Defaults to None.
        model: What that treatment is called. Defaults to ``"model"``.
        slots_as_readers: Whether reading slots may stand as readers; an analysis that takes them
            as persons is not valid. Defaults to False.

    Returns:
        ``reader, treatment, case, truth`` (int) and ``rating`` (float), without missing ratings.
        ``attrs["notes"]`` says what was left out.

    Raises:
        UsageError: the columns are reading slots and ``slots_as_readers`` is False, or a name
            cannot be written.
        PredictionsError: truth that is not 0 or 1, or a reader without both classes.
    """
    if not ratings.persons and not slots_as_readers:
        raise UsageError(
            f"{ratings.source}: its columns are reading slots, not persons; an MRMC analysis takes "
            "readers as persons: give a table with readers (persons=True), or slots_as_readers="
            "True for a file that only shows the format"
        )
    if treatment == model and scores is not None:
        raise UsageError(f"both treatments are called {shown(model)}; name them differently")
    known = _truth(truth)
    rows = ratings.long().rename(columns={"finding_id": "case"})
    rows = rows.assign(treatment=treatment, rating=rows["rating"].astype("float64"))
    rows["truth"] = rows["case"].map(known)
    left_out = int(rows.loc[rows["truth"].isna(), "case"].nunique())
    notes = [f"{left_out} findings have no truth and were left out"] if left_out else []
    rows = rows[rows["truth"].notna()]
    if scores is not None:
        value = rows["case"].map(checked_scores(scores, ratings))
        unscored = ~np.isfinite(value)
        if unscored.any():
            count = int(rows.loc[unscored, "case"].nunique())
            notes.append(f"{count} findings have no score and were left out of both treatments")
        rows = rows[~unscored]
        rows = pd.concat([rows, rows.assign(treatment=model, rating=value[~unscored])])
    table = rows[list(COLUMNS)].astype({"truth": "int64"}).reset_index(drop=True)
    _check(table, ratings)
    table.attrs["notes"] = notes
    return table


def write_mrmcaov(path: str | os.PathLike[str], table: pd.DataFrame) -> Path:
    """Writes a table for MRMCaov: CSV with a header, whole or not at all.

    Args:
        path: Of the file, ending in ``.csv``.
        table: Of :func:`mrmc_table`.

    Raises:
        UsageError: another ending.
    """
    target = _named(path, ".csv")
    write_text(target, table[list(COLUMNS)].to_csv(index=False, lineterminator="\n"))
    return target


def write_imrmc(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    *,
    program: Literal["R", "java"] = "R",
) -> Path:
    """Writes a table for iMRMC, whole or not at all.

    Args:
        path: Of the file, ending in ``.imrmc``.
        table: Of :func:`mrmc_table`.
        program: Which of the two reads it: they want different names of the truth. Defaults to
            ``"R"``, the package iMRMC on CRAN (``doAUCmrmc``).

    Raises:
        UsageError: another ending, or an unknown program.
    """
    if program not in TRUTH:
        raise UsageError(f"iMRMC: program {shown(program)}; expected 'R' or 'java'")
    target = _named(path, ".imrmc")
    cases = table.drop_duplicates("case")
    positives = int(cases["truth"].sum())
    lines = [
        "Written by NoduleNet. Readings and truth of a reader study.",
        f"NR: {table['reader'].nunique()}",
        f"N0: {len(cases) - positives}",
        f"N1: {positives}",
        f"NM: {table['treatment'].nunique()}",
        "BEGIN DATA:",
        *(
            f"{TRUTH[program]},{case},truth,{truth}"
            for case, truth in zip(cases["case"], cases["truth"], strict=True)
        ),
        *(
            f"{reader},{case},{treatment},{rating!r}"
            for reader, case, treatment, rating in zip(
                table["reader"],
                table["case"],
                table["treatment"],
                map(float, table["rating"]),
                strict=True,
            )
        ),
    ]
    write_text(target, "\n".join(lines) + "\n")
    return target


def _truth(truth: pd.Series[Any]) -> pd.Series[float]:
    named = truth.dropna()
    named.index = named.index.astype(str)
    values = pd.to_numeric(named, errors="coerce").astype("float64")
    wrong = ~values.isin((0.0, 1.0))
    if wrong.any():
        finding = str(values.index[wrong][0])
        raise PredictionsError(
            f"truth, finding {shown(finding)}: {shown(named[wrong].iloc[0])} is not 0 or 1; map "
            "the classes, or leave it empty where it is unknown"
        )
    twice = values.index[values.index.duplicated()]
    if len(twice):
        raise PredictionsError(
            f"truth: finding {shown(str(twice[0]))} is there more than once; expected one each"
        )
    return values


def _check(table: pd.DataFrame, ratings: Ratings) -> None:
    for column in ("reader", "treatment", "case"):
        names = [str(name) for name in table[column].unique()]
        for name in names:
            if any(sign in name for sign in _FORBIDDEN) or name in ("truth", "-1", ""):
                raise UsageError(
                    f"{column} {shown(name)} cannot be written for iMRMC and MRMCaov; expected a "
                    "name without commas, quotes and line breaks that is not 'truth' or '-1'"
                )
        bare = pd.Series(["".join(name.split()) for name in names])
        if bare.duplicated().any():
            raise UsageError(
                f"{column} {shown(names[int(np.flatnonzero(bare.duplicated())[0])])} equals "
                "another but for blanks, which iMRMC drops; rename one"
            )
    readers = table["reader"].unique()
    for reader in ratings.readers:
        classes = set(table.loc[table["reader"] == reader, "truth"])
        if len(classes) < 2:
            missing = "negative" if classes == {1} else "positive" if classes == {0} else "single"
            raise PredictionsError(
                f"{ratings.source}: reader {shown(reader)} rated no {missing} finding whose truth "
                "is known; an ROC analysis needs both classes of every reader: leave the reader "
                f"out ({len(readers)} have ratings)"
            )


def _named(path: str | os.PathLike[str], ending: str) -> Path:
    target = Path(path)
    if target.suffix != ending:
        raise UsageError(f"{target}: expected a name ending in {ending}")
    return target
