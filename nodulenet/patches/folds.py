"""Folds by patient, and inside the training part of each an inner validation part, by patient too.

The table ``folds.csv`` says it all: ``finding_id, patient_id, label, fold`` and ``inner_of``, the
outer folds (``;`` between them) in whose training this finding is inner validation. Fold -1 is
training only. Repeated k-fold has a row a finding and repeat, and a column ``repeat``; the folds of
repeat r are numbered on from those of repeat r - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path
from nodulenet.config.schema import FoldsConfig
from nodulenet.errors import FoldsError
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.seeds import child_seed

TRAINING_ONLY = -1
REPEAT = "repeat"
# "0;3", and "3.0" as other tools write a column of numbers that has gaps.
_INNER_OF = r"(\d+(\.0)?(;\d+(\.0)?)*)?"


@dataclass(frozen=True)
class Parts:
    """Row positions of one outer fold: disjoint, and without a patient in two of them."""

    train: npt.NDArray[np.int64]
    inner: npt.NDArray[np.int64]
    outer: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Folds:
    """An assignment of findings to folds.

    Attributes:
        table: ``finding_id, patient_id, label, fold, inner_of``, one row a labelled finding; with
            repeats one block of all findings after the other, and ``repeat`` (0, 1, ...).
        kind: how it was made.
        notes: what people should know, e.g. patients who were left out of a training part.
    """

    table: pd.DataFrame
    kind: str
    notes: tuple[str, ...] = ()

    @property
    def folds(self) -> list[int]:
        """The outer folds, rising."""
        return sorted(int(f) for f in self.table["fold"].unique() if f != TRAINING_ONLY)

    def parts(self, fold: int, *, allow_shared_patients: bool = False) -> Parts:
        """Who trains, who validates inside, who is held out, for one outer fold.

        Rows are positions among the findings, which every repeat has in the same order. Findings
        of a held-out patient that lie in other folds are in no part (this happens in the
        official LUNA16 subsets), unless shared patients are allowed.
        """
        table = self.table
        if REPEAT in table.columns:
            table = table[table[REPEAT] == table.loc[table["fold"] == fold, REPEAT].iloc[0]]
        outer = (table["fold"] == fold).to_numpy()
        inner = table["inner_of"].str.split(";").map(lambda f: str(fold) in f).to_numpy() & ~outer
        train = ~outer & ~inner
        if not allow_shared_patients:
            held_out = table["patient_id"].isin(set(table["patient_id"][outer])).to_numpy()
            inner &= ~held_out
            train &= ~held_out
        return Parts(*(np.flatnonzero(part) for part in (train, inner, outer)))

    def save(self, path: str | Path) -> None:
        """Write ``folds.csv``."""
        with atomic_path(path) as temporary:
            self.table.to_csv(temporary, index=False)


def make_folds(findings: pd.DataFrame, config: FoldsConfig, *, seed: int) -> Folds:
    """Split labelled findings as configured.

    Args:
        findings: ``finding_id, patient_id, label`` (no <NA>); ``subset`` for the LUNA16 kinds;
            ``part`` where a hold-out is the source's own.
        config: the kind and its numbers.
        seed: root seed.

    Raises:
        FoldsError: a side would lack one of the two labels, or fewer patients than folds.
    """
    table = findings[["finding_id", "patient_id", "label"]].reset_index(drop=True)
    table["label"] = table["label"].astype(int)
    notes: list[str] = []
    if config.kind == "file":
        assert config.path is not None
        blocks = _read(config.path, table)
    else:
        blocks = [
            _split(table, findings, config, seed, repeat, notes) for repeat in range(config.repeats)
        ]
    done: list[pd.DataFrame] = []
    for block, inner_of in blocks:
        _fill_inner(block, inner_of, config, seed)
        done.append(block)
        single = Folds(block, config.kind)
        if not single.folds:
            raise FoldsError(
                f"{config.path or config.kind}: holds out no finding, all are for training only; "
                f"expected at least one outer fold"
            )
        for fold in single.folds:
            parts = single.parts(fold, allow_shared_patients=config.allow_shared_patients)
            left_out = len(block) - sum(map(len, (parts.train, parts.inner, parts.outer)))
            if left_out:
                notes.append(
                    f"fold {fold}: {left_out} findings of held-out patients lie in other folds and "
                    f"are left out of its training"
                )
            for name, rows in vars(parts).items():
                _require_both_labels(block, rows, f"fold {fold}: the {name} part")
    if len(done) > 1:
        done = [block.assign(**{REPEAT: number}) for number, block in enumerate(done)]
    return Folds(pd.concat(done, ignore_index=True), config.kind, tuple(notes))


_Block = tuple[pd.DataFrame, list[set[int]]]
"""All findings with their fold, and for each the folds whose inner part it is known to be in."""


def _split(
    table: pd.DataFrame,
    findings: pd.DataFrame,
    config: FoldsConfig,
    seed: int,
    repeat: int,
    notes: list[str],
) -> _Block:
    """One assignment of all findings to folds."""
    inner_of: list[set[int]] = [set() for _ in range(len(table))]
    if config.kind in ("luna16", "luna16_grouped"):
        subset = findings["subset"].to_numpy()
        if config.kind == "luna16_grouped":
            subset = _one_subset_a_patient(table["patient_id"], subset, notes)
        fold = np.where(subset < 0, TRAINING_ONLY, subset // config.subsets_per_fold)
    elif config.kind == "holdout" and _has_parts(findings):
        part = findings["part"].reset_index(drop=True)
        fold = np.where(part == "test", 0, TRAINING_ONLY)
        for position in np.flatnonzero(part == "val"):
            inner_of[position].add(0)
    elif config.kind == "holdout":
        piece = _grouped(table, max(2, round(1 / config.holdout_fraction)), seed, "holdout")
        fold = np.where(piece == 0, 0, TRAINING_ONLY)
    else:
        # The first repeat is what a run without repeats gets.
        names = ("folds",) if repeat == 0 else ("folds", repeat)
        fold = _grouped(table, config.count, seed, *names) + repeat * config.count
    return table.assign(fold=fold), inner_of


def _has_parts(findings: pd.DataFrame) -> bool:
    """Whether the source says who is tested (MedMNIST); another column may be called part, too."""
    return "part" in findings.columns and set(findings["part"]) == {"train", "val", "test"}


def _one_subset_a_patient(
    patients: pd.Series, subset: npt.NDArray[np.int64], notes: list[str]
) -> npt.NDArray[np.int64]:
    """All scans of a patient moved to the lowest of the patient's subsets."""
    present = pd.Series(np.where(subset < 0, np.iinfo(np.int64).max, subset))
    lowest = present.groupby(patients.to_numpy()).transform("min").to_numpy()
    moved = np.where(subset < 0, subset, lowest)
    for patient in sorted(set(patients[moved != subset])):
        rows = (patients == patient).to_numpy()
        found = sorted(set(subset[rows & (subset >= 0)].tolist()))
        notes.append(
            f"patient {patient} has scans in subsets {' and '.join(map(str, found))}; all are "
            f"taken into subset {found[0]} ({int((rows & (moved != subset)).sum())} findings moved)"
        )
    return moved


def _fill_inner(
    block: pd.DataFrame, inner_of: list[set[int]], config: FoldsConfig, seed: int
) -> None:
    """Add ``inner_of``: the given inner parts, and new ones where a fold has none."""
    block["inner_of"] = ""
    folds = Folds(block, config.kind)
    for fold in folds.folds:
        if any(fold in f for f in inner_of):
            continue  # the source or the file says who is inner
        rows = folds.parts(fold).train
        count = max(2, round(1 / config.inner_fraction))
        try:
            piece = _grouped(block.iloc[rows], count, seed, "inner", fold)
        except FoldsError as error:
            raise FoldsError(
                f"fold {fold}: no inner validation part of {config.inner_fraction:g} of its "
                f"training patients can be made ({error})"
            ) from None
        for position in rows[piece == 0]:
            inner_of[position].add(fold)
    block["inner_of"] = [";".join(map(str, sorted(f))) for f in inner_of]


def _grouped(
    table: pd.DataFrame, count: int, seed: int, *names: str | int
) -> npt.NDArray[np.int64]:
    """Piece 0..count-1 of every row: whole patients, labels spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels = table["label"].to_numpy()
    patients = table["patient_id"].to_numpy()
    for label in (0, 1):
        holders = len(set(patients[labels == label]))
        if holders < count:
            raise FoldsError(
                f"{holders} patients have a finding of label {label}, expected at least {count} "
                f"for {count} pieces; use fewer folds, a larger folds.inner_fraction or more data"
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=child_seed(seed, *names))
    piece = np.empty(len(table), dtype=np.int64)
    for i, (_, rows) in enumerate(splitter.split(labels, labels, patients)):
        piece[rows] = i
    return piece


def _read(path: Path, table: pd.DataFrame) -> list[_Block]:
    found = read_csv(
        path,
        numbers=["fold"],
        ids=["finding_id"],
        texts=["inner_of"],
        optional_numbers=[REPEAT],
    )
    fold = found["fold"]
    refuse_rows(path, found, "fold", (fold != fold.round()) | (fold < -1), "a whole number from -1")
    if REPEAT not in found.columns:
        found[REPEAT] = 0
    refuse_rows(path, found, REPEAT, found[REPEAT].isna(), "a number")
    twice = found.duplicated(["finding_id", REPEAT])
    refuse_rows(path, found, "finding_id", twice, "every finding once (in every repeat)")
    shared = found[fold >= 0].groupby("fold")[REPEAT].nunique() > 1
    if shared.any():
        raise FoldsError(
            f"{path}: fold {shared.index[shared][0]:g} stands in several repeats; expected every "
            f"fold in one; number the folds on from repeat to repeat"
        )
    blocks = [part.set_index("finding_id") for _, part in found.groupby(REPEAT)]
    return [_block(path, block, table) for block in blocks]


def _block(path: Path, found: pd.DataFrame, table: pd.DataFrame) -> _Block:
    missing = table["finding_id"][~table["finding_id"].isin(found.index)]
    if len(missing):
        raise FoldsError(
            f"{path}: finding {missing.iloc[0]!r} has no fold ({len(missing)} findings in all): "
            f"the file was made for other findings, or scans were added or mended since; give a "
            f"new run directory (run=PATH) to make folds anew"
        )
    block = table.assign(fold=found["fold"].loc[table["finding_id"]].astype(int).to_numpy())
    if "inner_of" not in found.columns:
        return block, [set() for _ in range(len(table))]
    cells = found["inner_of"].loc[table["finding_id"]]
    wrong = ~cells.str.fullmatch(_INNER_OF)
    if wrong.any():
        raise FoldsError(
            f"{path}: inner_of is {cells[wrong].iloc[0]!r}, expected folds with ; between them"
        )
    return block, [{int(float(f)) for f in cell.split(";") if f} for cell in cells]


def _require_both_labels(table: pd.DataFrame, rows: npt.NDArray[np.int64], what: str) -> None:
    labels = set(table["label"].iloc[rows])
    for label, name in ((0, "negative"), (1, "positive")):
        if label not in labels:
            raise FoldsError(
                f"{what} has no {name} finding ({len(rows)} findings); use fewer folds or check "
                f"the labels"
            )
