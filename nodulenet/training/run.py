"""The run directory: everything of one training, readable by people, continued after a kill.

Layout::

    config.yaml            the resolved configuration
    manifest.json          command, versions, hash of the configuration, what was done,
                           what failed
    folds.csv              who is where
    findings.csv           what is known of the findings, for subgroups
    units/MODEL/fold-K/seed-S/
                           started.json, history.csv, checkpoint.npz and tensorboard/ while it
                           trains; model.keras, predictions.csv, unit.json (written last) when it
                           is finished; failed.json when it failed
    outer_scorings.csv     every time that held-out findings were scored
    predictions.csv        inner and outer rows of every model, baseline and stack
    bundle.json            what classification needs
    reference/             annotations and series, where FROC applies
    metrics.json, report.html, figures/   written by evaluation
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet import __version__
from nodulenet.atomic import atomic_path, write_json
from nodulenet.config.load import load_config, save_config
from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError, RunError
from nodulenet.patches.folds import Folds
from nodulenet.versions import command_line, versions

FOLDS = "folds.csv"
ID_DTYPES = {"finding_id": str, "patient_id": str, "scan_id": str}
SCORINGS = "outer_scorings.csv"
_UNITS = "units/*/fold-*/seed-*"

# What may change between two calls on one run without changing what its networks learn.
# Models are compared unit by unit.
_FREE_FIELDS = {"name", "run", "store", "evaluate", "models", "baselines", "stacks", "others"}


@dataclass(frozen=True, order=True)
class Unit:
    """One model on one fold from one start."""

    model: str
    fold: int
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.model} fold {self.fold} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Below the run directory."""
        return Path("units") / self.model / f"fold-{self.fold}" / f"seed-{self.seed}"

    @classmethod
    def of_folder(cls, folder: Path) -> Unit:
        """The unit of ``.../units/MODEL/fold-K/seed-S``."""
        seed, fold = folder.name, folder.parent.name
        return cls(
            folder.parent.parent.name,
            int(fold.removeprefix("fold-")),
            int(seed.removeprefix("seed-")),
        )


class Run:
    """A run directory: :meth:`of` a configuration to train it, :meth:`open` to read it."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def of(cls, config: Config) -> Run:
        """The directory of ``config``, new or to be continued; nothing is written yet.

        Raises:
            RunError: the directory holds results that this configuration would not give.
        """
        run = cls(config.run, config)
        if config.run.exists() and not config.run.is_dir():
            raise RunError(f"{config.run}: is a file, expected a folder for the run (run=PATH)")
        if run.has_results():
            _refuse_other_config(config.run / "config.yaml", config)
        return run

    def begin(self, folds: Folds, findings: pd.DataFrame) -> None:
        """Write the configuration and who is where, once it is clear that training can start.

        ``findings.csv`` keeps every column of the findings, so that subgroups can be looked at
        where the source and the store are not.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        save_config(self.config, self.path / "config.yaml")
        folds.save(self.path / FOLDS)
        with atomic_path(self.path / "findings.csv") as temporary:
            findings.to_csv(temporary, index=False)

    def has_results(self) -> bool:
        """Whether a unit has been finished here; before that, everything may still change."""
        return any(self.path.glob(f"{_UNITS}/unit.json"))

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run directory.

        Raises:
            RunError: there is none.
        """
        folder = Path(path)
        if not folder.exists():
            raise RunError(f"{folder}: there is no such run directory")
        if not (folder / "config.yaml").is_file():
            raise RunError(
                f"{folder}: is no run directory (it has no config.yaml); train one with "
                f"`nodulenet train CONFIG`"
            )
        # A directory may have been moved since it was written.
        config = load_config(folder / "config.yaml")
        return cls(folder, config.model_copy(update={"run": folder}))

    def unit_folder(self, unit: Unit) -> Path:
        return self.path / unit.folder

    def finished(self, unit: Unit, identity: str) -> bool:
        """Whether the unit is whole and was trained with these settings on this very input.

        Raises:
            RunError: it is whole, but of other settings, folds or patches.
        """
        file = self.unit_folder(unit) / "unit.json"
        if not file.is_file():
            return False
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["identity"]
        except (ValueError, KeyError, TypeError):
            return False  # damaged: it is trained again
        if found != identity:
            raise RunError(
                f"{file.parent}: was trained with other settings, folds or patches; give another "
                f"run directory (run=PATH) or remove this folder"
            )
        return True

    def finished_units(self) -> list[Unit]:
        """All units that are whole."""
        return sorted(Unit.of_folder(f.parent) for f in self.path.glob(f"{_UNITS}/unit.json"))

    def histories(self, models: Container[str]) -> dict[str, dict[int, pd.DataFrame]]:
        """Learning curves of the finished units of these models, by model and fold.

        Of several seeds the first stands for its fold.
        """
        result: dict[str, dict[int, pd.DataFrame]] = {}
        for unit in self.finished_units():
            curves = result.setdefault(unit.model, {})
            if unit.model in models and unit.fold not in curves:
                curves[unit.fold] = pd.read_csv(self.unit_folder(unit) / "history.csv")
        return {model: curves for model, curves in result.items() if curves}

    def unit_predictions(self, unit: Unit) -> pd.DataFrame:
        """Inner and outer rows of a finished unit."""
        return pd.read_csv(self.unit_folder(unit) / "predictions.csv", dtype=ID_DTYPES)

    def log_outer_scoring(self, unit: Unit, identity: str) -> None:
        """Note that a unit has scored its held-out findings: looks at them are counted."""
        file = self.path / SCORINGS
        row = {
            "time": _now(),
            "model": unit.model,
            "fold": unit.fold,
            "seed": unit.seed,
            "identity": identity,
            "command": command_line(),
        }
        table = pd.DataFrame([row])
        if file.is_file():
            table = pd.concat([pd.read_csv(file), table], ignore_index=True)
        with atomic_path(file) as temporary:
            table.to_csv(temporary, index=False)

    def log_forgotten_scorings(self, units: Iterable[Unit], identities: dict[Unit, str]) -> None:
        """Note finished units whose scoring was not: whoever asked for them was killed."""
        file = self.path / SCORINGS
        known = set(pd.read_csv(file, dtype=str)["identity"]) if file.is_file() else set()
        for unit in sorted(units):
            if identities[unit] not in known:
                self.log_outer_scoring(unit, identities[unit])

    def save_predictions(self, table: pd.DataFrame) -> pd.DataFrame:
        """Write ``predictions.csv``, without columns that are empty throughout."""
        table = table.dropna(axis="columns", how="all")
        with atomic_path(self.path / "predictions.csv") as temporary:
            table.to_csv(temporary, index=False)
        return table

    def copy_reference(self, tables: dict[str, Path]) -> None:
        """Keep the tables that FROC needs, so that the run can be evaluated elsewhere."""
        for name, file in tables.items():
            with atomic_path(self.path / "reference" / f"{name}.csv") as temporary:
                shutil.copyfile(file, temporary)

    def reference(self) -> dict[str, Path]:
        """The tables that FROC needs, by name, where the source had them."""
        return {f.stem: f for f in sorted(self.path.glob("reference/*.csv"))}

    def findings(self) -> pd.DataFrame | None:
        """The findings that the run was trained on, with all their columns; None in older runs."""
        file = self.path / "findings.csv"
        if not file.is_file():
            return None
        return pd.read_csv(file, dtype=ID_DTYPES, low_memory=False)

    def units(self) -> list[dict[str, Any]]:
        """The facts of the finished units, see :mod:`nodulenet.training.unit`."""
        files = [self.unit_folder(unit) / "unit.json" for unit in self.finished_units()]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` says now; empty when there is none."""
        file = self.path / "manifest.json"
        if not file.is_file():
            return {}
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise RunError(f"{file}: is damaged ({error}); remove it and run again") from error

    def record(self, stage: str, facts: dict[str, Any]) -> None:
        """Note in ``manifest.json`` that a stage ended, with its facts and failures."""
        manifest = self.manifest()
        manifest.setdefault("created", _now())
        manifest.update(
            nodulenet=__version__,
            versions=versions(),
            system=platform.platform(),
            seed=self.config.seed,
            config_hash=_hash_text((self.path / "config.yaml").read_text(encoding="utf-8")),
        )
        manifest.setdefault("stages", {})[stage] = {
            "ended": _now(),
            "command": command_line(),
            **facts,
        }
        stages = manifest["stages"].values()
        manifest["failures"] = [f for s in stages for f in s.get("failures", [])]
        write_json(self.path / "manifest.json", manifest)


def refuse_folder_of_training(folder: Path) -> None:
    """Refuses a folder whose results are those of a training, as a place for other results.

    Raises:
        RunError: it is one.
    """
    for name in ("units", "bundle.json"):
        if (folder / name).exists():
            raise RunError(
                f"{folder}: holds a training ({name}), whose results would be overwritten; give "
                f"another folder (--out DIR or run=DIR)"
            )


def _refuse_other_config(file: Path, config: Config) -> None:
    try:
        before = load_config(file)
    except ConfigError as error:
        raise RunError(
            f"{file.parent}: holds a run whose configuration cannot be read ({error}); give "
            f"another run directory (run=PATH)"
        ) from error
    old, new = before.model_dump(mode="json"), config.model_dump(mode="json")
    changed = sorted(
        _differences(
            {k: v for k, v in old.items() if k not in _FREE_FIELDS},
            {k: v for k, v in new.items() if k not in _FREE_FIELDS},
        )
    )
    if changed:
        raise RunError(
            f"{file.parent}: holds a run of another configuration ({', '.join(changed[:5])} "
            f"differ); give another run directory (run=PATH) or remove this one"
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in old.keys() | new.keys():
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(prefix + key)
    return found


def _hash_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
