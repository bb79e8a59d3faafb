"""Folds by patient, and in each training the parts that stop and that calibrate, by patient too.

The table ``folds.csv`` says it all: ``finding_id, patient_id, label, fold`` and ``inner_of``, the
outer folds (``;`` between them) in whose training this finding is in the inner part: calibration,
thresholds and stacking. ``stop_of`` says the same of the part that chooses the epoch, where there
is one. ``3:1`` is the second inner piece of fold 3, where every seed of a fold has a piece of its
own. Fold -1 is training only; a finding without a label (trained on with a soft target) is always
in it. Repeated k-fold has a row a finding and repeat, and a column ``repeat``; the folds of repeat
r are numbered on from those of repeat r - 1.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.amounts import count_text
from nodulenet.atomic import atomic_path
from nodulenet.config.schema import FoldsConfig
from nodulenet.errors import FoldsError
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.privacy import is_pseudonym
from nodulenet.seeds import child_seed

TRAINING_ONLY = -1
REPEAT = "repeat"
INNER, STOP = "inner_of", "stop_of"
# "0;3", "0:1;3:0", and "3.0" as other tools write a column of numbers that has gaps.
_MEMBERSHIP = r"(\d+(\.0|:\d+)?(;\d+(\.0|:\d+)?)*)?"

_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Row positions of one training: disjoint, and without a patient in two of them.

    Attributes:
        train: is learned.
        stop: chooses the epoch; empty where the last one is kept.
        inner: calibrates, chooses thresholds and fits stacks; never trained on.
        outer: is held out.
    """

    train: _Rows
    stop: _Rows
    inner: _Rows
    outer: _Rows


@dataclass(frozen=True)
class Folds:
    """An assignment of findings to folds.

    Attributes:
        table: ``finding_id, patient_id, label, fold, inner_of[, stop_of]``, one row a finding;
            with repeats one block of all findings after the other, and ``repeat`` (0, 1, ...).
        kind: how it was made.
        notes: what people should know, e.g. patients who were left out of a training part.
        pieces: inner pieces of each fold; 1 unless they rotate with the seeds.
    """

    table: pd.DataFrame
    kind: str
    notes: tuple[str, ...] = ()
    pieces: int = 1

    @property
    def folds(self) -> list[int]:
        """The outer folds, rising."""
        return sorted(int(f) for f in self.table["fold"].unique() if f != TRAINING_ONLY)

    def parts(self, fold: int, piece: int = 0, *, allow_shared_patients: bool = False) -> Parts:
        """Who trains, who chooses, who calibrates, who is held out, for one training.

        Rows are positions among the findings, which every repeat has in the same order. Findings
        of a held-out patient that lie in other folds are in no part (this happens in the
        official LUNA16 subsets), unless shared patients are allowed; nor are findings without a
        label of patients of the stopping and inner parts.

        Args:
            fold: the outer fold.
            piece: which of its inner pieces. Defaults to the first.
            allow_shared_patients: whether patients may be on both sides. Defaults to False.
        """
        table = self.table
        if REPEAT in table.columns:
            table = table[table[REPEAT] == table.loc[table["fold"] == fold, REPEAT].iloc[0]]
        outer = (table["fold"] == fold).to_numpy()
        inner = _members(table, INNER, fold, piece) & ~outer
        stop = _members(table, STOP, fold, piece) & ~outer & ~inner
        train = ~outer & ~inner & ~stop
        patients = table["patient_id"]
        kept_out = patients.isin(set(patients[inner | stop])).to_numpy()
        train &= ~(table["label"].isna().to_numpy() & kept_out)
        if not allow_shared_patients:
            held_out = patients.isin(set(patients[outer])).to_numpy()
            inner &= ~held_out
            stop &= ~held_out
            train &= ~held_out
        return Parts(*(np.flatnonzero(part) for part in (train, stop, inner, outer)))

    def trainings(self) -> Iterator[tuple[int, int]]:
        """Every fold with each of its inner pieces."""
        return ((fold, piece) for fold in self.folds for piece in range(self.pieces))

    def only(self, finding_ids: Container[str]) -> Folds:
        """The same folds of some of the findings, who keep their order."""
        kept = self.table["finding_id"].map(lambda finding: finding in finding_ids)
        table = self.table[kept.to_numpy(dtype=bool)].reset_index(drop=True)
        return replace(self, table=table)

    def save(self, path: str | Path) -> None:
        """Write ``folds.csv``."""
        with atomic_path(path) as temporary:
            self.table.to_csv(temporary, index=False)

    @classmethod
    def load(cls, path: str | Path, pieces: int = 1) -> Folds:
        """Folds that :meth:`save` wrote, row by row the same."""
        texts = ["finding_id", "patient_id", INNER, STOP]
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, str) | {"label": "Int64"},
            keep_default_na=False,
            na_values={"label": [""]},
        )
        return cls(table, "file", pieces=pieces)


def _members(table: pd.DataFrame, column: str, fold: int, piece: int) -> npt.NDArray[np.bool_]:
    if column not in table.columns:
        return np.zeros(len(table), dtype=bool)
    codes, cells = pd.factorize(table[column])
    wanted = f"{fold}:{piece}"
    inside = np.array([wanted in _memberships(cell) for cell in cells], dtype=bool)
    return inside[codes]


def _memberships(cell: str) -> set[str]:
    """``0;3.0;4:1`` as ``{"0:0", "3:0", "4:1"}``."""
    found = set()
    for entry in filter(None, cell.split(";")):
        fold, _, piece = entry.removesuffix(".0").partition(":")
        found.add(f"{int(fold)}:{int(piece or 0)}")
    return found


def make_folds(
    findings: pd.DataFrame,
    config: FoldsConfig,
    *,
    seed: int,
    stopping: bool = False,
    pieces: int = 1,
) -> Folds:
    """Split findings as configured.

    Args:
        findings: ``finding_id, patient_id, label``; one without a label is for training only;
            ``subset`` for the LUNA16 kinds; ``part`` where a hold-out is the source's own; the
            configured column for the kinds that split by one.
        config: the kind and its numbers.
        seed: root seed.
        stopping: whether a part for choosing the epoch is made. Defaults to False.
        pieces: inner pieces a fold. Defaults to 1.

    Raises:
        FoldsError: a part would have too few findings of a label, or fewer patients than folds.
    """
    table = findings[["finding_id", "patient_id", "label"]].reset_index(drop=True)
    table["label"] = table["label"].astype("Int64")
    notes: list[str] = []
    if config.kind == "file":
        assert config.path is not None
        blocks = _read(config.path, table)
    else:
        blocks = [
            _split(table, findings, config, seed, repeat, notes) for repeat in range(config.repeats)
        ]
    done: list[pd.DataFrame] = []
    for block in blocks:
        table = block.table
        unlabelled = table["label"].isna().to_numpy()
        table.loc[unlabelled, "fold"] = TRAINING_ONLY
        for position in np.flatnonzero(unlabelled):
            block.inner[position].clear()
            block.stop[position].clear()
        _fill_inner(block, config, seed, pieces)
        if stopping:
            _fill_stop(block, config, seed, pieces)
        done.append(block.written(stopping))
        single = Folds(done[-1], config.kind, pieces=pieces)
        if not single.folds:
            raise FoldsError(
                f"{config.path or config.kind}: holds out no finding, all are for training only; "
                f"expected at least one outer fold"
            )
        _check_parts(single, config, notes, stopping=stopping)
    if len(done) > 1:
        done = [block.assign(**{REPEAT: number}) for number, block in enumerate(done)]
    return Folds(pd.concat(done, ignore_index=True), config.kind, tuple(notes), pieces)


def _check_parts(folds: Folds, config: FoldsConfig, notes: list[str], *, stopping: bool) -> None:
    """Refuses parts that lack a label, or have too few of one for what is asked of them."""
    for fold, piece in folds.trainings():
        parts = folds.parts(fold, piece, allow_shared_patients=config.allow_shared_patients)
        where = f"fold {fold}" + (f", piece {piece}" if folds.pieces > 1 else "")
        labelled = folds.table["label"].notna().to_numpy()
        left_out = int(labelled.sum()) - sum(
            int(labelled[rows].sum()) for rows in vars(parts).values()
        )
        if left_out and piece == 0:
            notes.append(
                f"fold {fold}: {left_out} findings of held-out patients lie in other folds and "
                f"are left out of its training"
            )
        for name, rows in vars(parts).items():
            if name == "stop" and not stopping:
                continue
            chooses = name in ("inner", "stop")
            least = config.least_of_each_label if chooses else 1
            _require_both_labels(folds.table, rows, f"{where}: the {name} part", least)


@dataclass
class _Block:
    """All findings with their fold, and for each the trainings in whose parts it is.

    ``given`` are the folds whose inner part the source or a file says.
    """

    table: pd.DataFrame
    inner: list[set[str]]
    stop: list[set[str]]

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Block:
        return cls(table, [set() for _ in range(len(table))], [set() for _ in range(len(table))])

    def written(self, stopping: bool) -> pd.DataFrame:
        columns = {INNER: self.inner} | ({STOP: self.stop} if stopping else {})
        cells = {name: [_cell(f) for f in members] for name, members in columns.items()}
        return self.table.assign(**cells)


def _cell(members: set[str]) -> str:
    """Sorted, and ``3:0`` as ``3``: one piece needs no number."""
    ordered = sorted(members, key=lambda m: tuple(map(int, m.split(":"))))
    return ";".join(m.removesuffix(":0") for m in ordered)


def _split(
    table: pd.DataFrame,
    findings: pd.DataFrame,
    config: FoldsConfig,
    seed: int,
    repeat: int,
    notes: list[str],
) -> _Block:
    """One assignment of all findings to folds."""
    block = _Block.of(table)
    if config.kind in ("luna16", "luna16_grouped"):
        subset = findings["subset"].to_numpy()
        if config.kind == "luna16_grouped":
            subset = _one_subset_a_patient(table["patient_id"], subset, notes)
        fold = np.where(subset < 0, TRAINING_ONLY, subset // config.subsets_per_fold)
    elif config.kind == "holdout" and _has_parts(findings):
        part = findings["part"].reset_index(drop=True)
        fold = np.where(part == "test", 0, TRAINING_ONLY)
        for position in np.flatnonzero(part == "val"):
            block.inner[position].add("0:0")
    elif config.kind == "holdout":
        piece = _grouped(table, max(2, round(1 / config.holdout_fraction)), seed, "holdout")
        fold = np.where(piece == 0, 0, TRAINING_ONLY)
    elif config.kind == "column":
        fold = _by_value(findings, config, notes)
    elif config.kind == "dates":
        fold = _by_date(findings, config, notes)
    else:
        # The first repeat is what a run without repeats gets.
        names = ("folds",) if repeat == 0 else ("folds", repeat)
        fold = _grouped(table, config.count, seed, *names) + repeat * config.count
    block.table = table.assign(fold=fold)
    return block


def _decisive_column(findings: pd.DataFrame, config: FoldsConfig) -> pd.Series:
    assert config.column is not None
    if config.column not in findings.columns:
        raise FoldsError(
            f"folds.column: {config.column!r} is no column of the findings; they have "
            f"{', '.join(map(str, findings.columns))}"
        )
    return findings[config.column].reset_index(drop=True)


def _by_value(findings: pd.DataFrame, config: FoldsConfig, notes: list[str]) -> _Rows:
    """A fold a value, in their order; values with too few findings are for training only."""
    values = _decisive_column(findings, config).astype("string").str.strip()
    values = values.mask(values == "")
    labels = findings["label"].reset_index(drop=True)
    fold = np.full(len(values), TRAINING_ONLY, dtype=np.int64)
    number = 0
    for value in sorted(values.dropna().unique()):
        rows = (values == value).fillna(False).to_numpy(dtype=bool)
        counts = [int((labels[rows] == label).sum()) for label in (0, 1)]
        where = f"{config.column} {value}: {counts[0]} negative and {counts[1]} positive findings"
        if min(counts) < config.least_of_each_label:
            notes.append(f"{where}, too few to be held out: for training only")
            continue
        fold[rows] = number
        notes.append(f"fold {number} holds out {where}")
        number += 1
    if number < 2:
        raise FoldsError(
            f"folds.column: {config.column!r} has {number} values with at least "
            f"{config.least_of_each_label} findings of each label, expected 2 or more; choose "
            f"another column or kind: grouped"
        )
    if values.isna().any():
        notes.append(
            f"{int(values.isna().sum())} findings have no {config.column}: for training only"
        )
    return fold


def _by_date(findings: pd.DataFrame, config: FoldsConfig, notes: list[str]) -> _Rows:
    """Patients whose first date lies on or after the configured one are held out, as fold 0."""
    column = _decisive_column(findings, config)
    since = pd.to_datetime(str(config.since), errors="coerce")
    if pd.isna(since):
        raise FoldsError(f"folds.since: {config.since!r} is no date; expected e.g. 2012-06-30")
    # Whole numbers are DICOM dates (20120630) or years, not nanoseconds since 1970.
    texts = column.astype("string").str.removesuffix(".0")
    dates = pd.to_datetime(texts, errors="coerce", format="mixed")
    wrong = dates.isna() & column.notna()
    if wrong.any():
        raise FoldsError(
            f"folds.column: finding {findings['finding_id'].iloc[int(np.argmax(wrong))]!r} has "
            f"{config.column}={column[wrong].iloc[0]!r}, expected a date such as 2012-06-30"
        )
    first = dates.groupby(findings["patient_id"].to_numpy()).transform("min")
    if first.isna().any():
        notes.append(
            f"{int(first.isna().sum())} findings of patients without {config.column}: for training "
            f"only"
        )
    late = (first >= since).to_numpy()
    notes.append(
        f"fold 0 holds out {int(late.sum())} findings of patients first seen on or after "
        f"{since.date()}"
    )
    return np.where(late, 0, TRAINING_ONLY)


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


def _fill_inner(block: _Block, config: FoldsConfig, seed: int, pieces: int) -> None:
    """Add the inner parts of the folds that have none."""
    folds = Folds(block.written(False), config.kind)
    for fold in folds.folds:
        given = {m for members in block.inner for m in members if m.startswith(f"{fold}:")}
        if given:  # the source or the file says who is inner
            if len(given) < pieces:
                raise FoldsError(
                    f"fold {fold}: has {len(given)} inner pieces that are given, but "
                    f"folds.inner_rotation needs {pieces}, one a seed; set it to false, or let the "
                    f"inner parts be made (a folds file without inner_of)"
                )
            continue
        rows = _labelled(block, folds.parts(fold).train)
        count = max(2, round(1 / config.inner_fraction))
        piece = _piece(block, rows, count, seed, "inner", fold)
        for number in range(pieces):
            for position in rows[piece == number]:
                block.inner[position].add(f"{fold}:{number}")


def _fill_stop(block: _Block, config: FoldsConfig, seed: int, pieces: int) -> None:
    """Add the stopping parts of the trainings that have none, from their training part."""
    folds = Folds(block.written(True), config.kind, pieces=pieces)
    for fold, number in folds.trainings():
        if any(f"{fold}:{number}" in members for members in block.stop):
            continue
        rows = _labelled(block, folds.parts(fold, number).train)
        # A part of all training patients, of whom the inner ones are gone already.
        count = max(2, round((1 - config.inner_fraction) / config.stop_fraction))
        piece = _piece(block, rows, count, seed, "stop", fold, number)
        for position in rows[piece == 0]:
            block.stop[position].add(f"{fold}:{number}")


def _labelled(block: _Block, rows: _Rows) -> _Rows:
    return rows[block.table["label"].notna().to_numpy()[rows]]


def _piece(block: _Block, rows: _Rows, count: int, seed: int, name: str, *numbers: int) -> _Rows:
    names = {"inner": "inner validation", "stop": "stopping"}
    field = {"inner": "folds.inner_fraction", "stop": "folds.stop_fraction"}[name]
    try:
        return _grouped(block.table.iloc[rows], count, seed, name, *numbers)
    except FoldsError as error:
        raise FoldsError(
            f"fold {numbers[0]}: no {names[name]} part of 1/{count} of its training patients can "
            f"be made ({error}); a larger {field} needs fewer"
        ) from None


def _grouped(
    table: pd.DataFrame, count: int, seed: int, *names: str | int
) -> npt.NDArray[np.int64]:
    """Piece 0..count-1 of every row: whole patients, labels spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    known = table["label"].notna().to_numpy()
    labels = table["label"].fillna(-1).to_numpy(dtype=np.int64)
    patients = table["patient_id"].to_numpy()
    for label in (0, 1):
        holders = len(set(patients[labels == label]))
        if holders < count:
            raise FoldsError(
                f"{count_text(holders, 'patient')} with a finding of label {label}, expected at "
                f"least {count} for {count} pieces; use more patients, fewer folds or a larger "
                f"folds.inner_fraction"
            )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=child_seed(seed, *names))
    # Findings without a label have no say in how labels are spread, and no piece.
    piece = np.full(len(table), -1, dtype=np.int64)
    positions = np.flatnonzero(known)
    labels, patients = labels[known], patients[known]
    if all(map(is_pseudonym, map(str, patients))):
        # In the order of the table: that of pseudonyms, and so the folds, would depend on a key.
        patients = pd.factorize(patients)[0]
    for i, (_, rows) in enumerate(splitter.split(labels, labels, patients)):
        piece[positions[rows]] = i
    return piece


def _read(path: Path, table: pd.DataFrame) -> list[_Block]:
    found = read_csv(
        path,
        numbers=["fold"],
        ids=["finding_id"],
        texts=[INNER, STOP],
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
    rows = found.loc[table["finding_id"]]
    block = _Block.of(table.assign(fold=rows["fold"].astype(int).to_numpy()))
    for column, members in ((INNER, block.inner), (STOP, block.stop)):
        if column not in rows.columns:
            continue
        cells = rows[column]
        wrong = ~cells.str.fullmatch(_MEMBERSHIP)
        if wrong.any():
            raise FoldsError(
                f"{path}: {column} is {cells[wrong].iloc[0]!r}, expected folds with ; between them"
            )
        for own, cell in zip(members, cells, strict=True):
            own |= _memberships(cell)
    return block


def _require_both_labels(table: pd.DataFrame, rows: _Rows, what: str, least: int) -> None:
    labels = table["label"].iloc[rows]
    for label, name in ((0, "negative"), (1, "positive")):
        count = int((labels == label).sum())
        if count == 0:
            raise FoldsError(
                f"{what} has no {name} finding ({len(rows)} findings); use fewer folds or check "
                f"the labels"
            )
        if count < least:
            raise FoldsError(
                f"{what} has {count} {name} findings, at least {least} are needed "
                f"(folds.least_of_each_label); take a larger folds.inner_fraction or "
                f"folds.stop_fraction, fewer folds, or more data"
            )
