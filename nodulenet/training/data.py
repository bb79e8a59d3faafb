"""What all units of a run are trained on: findings with their patches, targets and folds.

It is written into the run directory once, so that units in other processes and on other machines
read the same instead of being sent it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path
from nodulenet.config.schema import Config
from nodulenet.errors import FoldsError, RunError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.patches.folds import Folds, make_folds
from nodulenet.patches.source import LoadedSource
from nodulenet.patches.store import PatchStore
from nodulenet.training.run import FOLDS, Run
from nodulenet.training.targets import Targets, make_targets

# Columns of the findings that travel into predictions.csv, where they exist.
CARRIED = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm", "diameter_mm", "label_basis")
_FOLDER = Path("work")
# Where a finding has no patch in the store: it is streamed from its scan when it is scored.
NOT_STORED = -1


@dataclass(frozen=True)
class TrainingData:
    """Findings row by row with their targets and folds.

    Attributes:
        findings: ``finding_id, patient_id, label`` (<NA>: trained on with a soft target only),
            ``position`` in the store (-1: not stored), and more.
        targets: what is learned of each.
        folds: who is where.
    """

    findings: pd.DataFrame
    targets: Targets
    folds: Folds

    @property
    def stored(self) -> npt.NDArray[np.bool_]:
        """Whether there is a patch of the finding in the store: (findings,)."""
        return self.findings["position"].to_numpy() != NOT_STORED

    def hash(self) -> str:
        """Of all that units are trained on: patches, labels, targets, patients and folds."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.folds.table.to_csv(index=False).encode())
        digest.update("".join(self.findings["content_hash"].fillna("")).encode())
        digest.update(self.targets.values.tobytes())
        return digest.hexdigest()

    def save(self, run: Path, data_hash: str) -> None:
        """Write what units need into the run directory; ``folds.csv`` is there already.

        The file's name has the hash, so that units of a call never read what another one wrote.
        """
        columns = ["finding_id", "patient_id", "label", "position"]
        columns += [c for c in CARRIED if c in self.findings.columns]
        table = self.findings[columns].assign(
            known=self.targets.known,
            positive=self.targets.positive,
            **{f"target_{i}": column for i, column in enumerate(self.targets.values.T)},
        )
        with atomic_path(_file(run, data_hash)) as temporary:
            table.to_parquet(temporary, index=False)

    @classmethod
    def load(cls, run: Path, pieces: int, data_hash: str) -> TrainingData:
        """What :meth:`save` wrote.

        Raises:
            RunError: it is missing or damaged.
        """
        file = _file(run, data_hash)
        try:
            table = pd.read_parquet(file)
            outputs = sum(c.startswith("target_") for c in table.columns)
            targets = Targets(
                table[[f"target_{i}" for i in range(outputs)]].to_numpy(dtype=np.float32),
                table["known"].to_numpy(dtype=bool),
                table["positive"].to_numpy(dtype=bool),
            )
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{file}: cannot be read ({error}); start the training again") from error
        return cls(table, targets, Folds.load(run / FOLDS, pieces))


def _file(run: Path, data_hash: str) -> Path:
    return run / _FOLDER / f"findings-{data_hash}.parquet"


def training_data(
    config: Config, source: LoadedSource, store: PatchStore, run: Run
) -> TrainingData:
    """The findings of a source that have a label or a target, and their folds.

    Labels, patients and diameters are the source's of today, not those of the day of preparation.
    ``folds.csv`` of a run with results is read, so that it stays what it was.

    Raises:
        FoldsError: no finding has a label, or folds cannot be made.
        FindingsError: the target's column is absent or wrong.
    """
    places = store.index[["finding_id", "content_hash"]].assign(position=np.arange(len(store)))
    # A source's own columns of these names must not stand in for ours.
    own = source.findings.table.drop(columns=["content_hash", "position"], errors="ignore")
    table = own.merge(places, on="finding_id", how="left")
    streamed = ~table["stored"].astype(bool) if "stored" in table.columns else False
    table = table[table["position"].notna() | streamed].reset_index(drop=True)
    table["position"] = table["position"].fillna(NOT_STORED).astype(np.int64)
    table["label"] = apply_label_rule(table, config.label_rule)
    if config.label_basis is not None and "label_basis" not in table.columns:
        table["label_basis"] = config.label_basis
    targets = make_targets(table, config.target)
    useful = table["label"].notna().to_numpy() | targets.known
    findings = table[useful].reset_index(drop=True)
    if not findings["label"].notna().any():
        raise FoldsError(
            f"{store.path}: none of its {len(table)} findings has a label; give a label "
            f"column of 0 and 1, or label_rule"
        )
    targets = Targets(
        targets.values[useful], targets.known[useful], targets.positive[useful], targets.notes
    )
    settings = config.folds
    if run.has_results():
        settings = settings.model_copy(update={"kind": "file", "path": run.path / FOLDS})
    folds = make_folds(
        findings,
        settings,
        seed=config.seed,
        stopping=config.train.monitor is not None,
        pieces=inner_pieces(config),
    )
    folds = Folds(folds.table, config.folds.kind, folds.notes, folds.pieces)
    return TrainingData(findings, targets, folds)


def inner_pieces(config: Config) -> int:
    """Inner pieces of each fold: one a seed where they rotate, else one."""
    return config.train.seeds if config.folds.inner_rotation else 1
