"""The bundle: everything that a new scan's answer needs, in one directory.

``bundle.json`` lists the fold models with their hashes, the PatchSpec, the value scale, the
calibration, what a probability means and, as keyed hashes, whom training saw. A run directory
holds one, so a run can be asked as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from nodulenet import __version__
from nodulenet.atomic import write_json
from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import MedMnistSource, PatchArchiveSource, Source, Target
from nodulenet.errors import BundleError, ConfigError
from nodulenet.patches.values import Values
from nodulenet.training.identities import (
    has_patient_ids,
    identity_hashes,
    scan_uids,
    shared_identities,
)
from nodulenet.versions import file_hash

if TYPE_CHECKING:
    import pandas as pd

    from nodulenet.evaluation.calibrators import PlattCalibration
    from nodulenet.training.run import Run

FORMAT = 1
_TARGET: TypeAdapter[Target | None] = TypeAdapter(Target | None)
FILE = "bundle.json"
# Model inputs are float32 and large; so many are made at a time.
_CHUNK = 256


@dataclass(frozen=True)
class BundledModel:
    """One model of the bundle: its fold models and how their mean is calibrated."""

    key: str
    registry_name: str
    files: tuple[str, ...]
    hashes: tuple[str, ...]
    folds: tuple[int, ...]
    calibration: PlattCalibration | None


class Bundle:
    """An opened bundle; its Keras models are loaded at the first question.

    Attributes:
        path: its directory.
        name: that of its training configuration.
        hash: of ``bundle.json``, which lists the hashes of the models.
        spec: what patches the models expect, windows included.
        values: the scale between source values and the int16 that models were trained on.
        label_meaning: candidate, reader_rating or outcome.
        target: what the models learned, by which their outputs become one probability.
        models: by key, in the order of the configuration; the first is the default.
        training: what it comes from: ``source``, counts of what was held out, and of all in the
            folds (``run``) with ``patients_hash`` and ``scans_hash`` of
            :mod:`nodulenet.training.identities` (None where the source has no ids that mean
            anything elsewhere). Older bundles lack the last three.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a run or bundle directory.

        Raises:
            BundleError: it is none, or of a format that this version does not read.
        """
        self.path = Path(path)
        content = _read(self.path)
        try:
            self.name = str(content.get("name", self.path.name))
            self.hash = file_hash(self.path / FILE)
            self.spec = PatchSpec.model_validate(content["spec"])
            self.values = Values(**content["values"])
            self.label_meaning: str = content["label_meaning"]
            self.target: Target | None = _TARGET.validate_python(content.get("target"))
            self.training: dict[str, Any] = content["training"]
            self.models = {
                key: BundledModel(
                    key,
                    m.get("registry_name", key),
                    tuple(m["files"]),
                    tuple(m["hashes"]),
                    # Before there were several seeds, every file was a fold of its own.
                    tuple(m.get("folds", range(len(m["files"])))),
                    _calibration(m["calibration"]),
                )
                for key, m in content["models"].items()
            }
            if not self.models or self.label_meaning not in MEANINGS or self.prevalence < 0:
                raise ValueError("no models, or an unknown label_meaning")
            for name in ("patients_hash", "scans_hash"):
                shared_identities((), self.training.get(name))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise BundleError(
                f"{self.path / FILE}: is not whole ({type(error).__name__}: {error}); write it "
                f"again with `nodulenet train`"
            ) from error
        self._loaded: dict[str, list[Any]] = {}

    @property
    def meaning(self) -> str:
        """What the probability is the probability of, in words."""
        return f"probability {MEANINGS[self.label_meaning].probability_of}"

    @property
    def prevalence(self) -> float:
        """Share of positives among the training findings; probabilities are calibrated to it."""
        return float(self.training["positives"] / self.training["findings"])

    def model(self, key: str | None = None) -> BundledModel:
        """A model by its key; the first one by default.

        Raises:
            ConfigError: there is no such model.
        """
        if key is None:
            return next(iter(self.models.values()))
        if key not in self.models:
            raise ConfigError(f"{self.path}: has no model {key!r}; it has {', '.join(self.models)}")
        return self.models[key]

    def predict(
        self, stored: npt.NDArray[np.int16], key: str | None = None
    ) -> npt.NDArray[np.float64]:
        """Raw probabilities of every fold for stored patches, means of its seeds: (folds, n)."""
        from nodulenet.training.input import model_inputs, predict
        from nodulenet.training.targets import positive_probability

        chosen = self.model(key)
        models = self._load(chosen)
        folds = np.array(chosen.folds)
        answers = np.empty((len(models), len(stored)), dtype=np.float64)
        for start in range(0, len(stored), _CHUNK):
            inputs = model_inputs(stored[start : start + _CHUNK], self.spec, self.values)
            for answer, model in zip(answers, models, strict=True):
                outputs = predict(model, inputs)
                answer[start : start + _CHUNK] = positive_probability(outputs, self.target)
        return np.stack([answers[folds == fold].mean(axis=0) for fold in dict.fromkeys(folds)])

    def _load(self, model: BundledModel) -> list[Any]:
        if model.key not in self._loaded:
            # Importing the package registers the classes of our saved models.
            from nodulenet.models import register_own_model
            from nodulenet.training.backend import keras

            register_own_model(model.registry_name)
            loaded = []
            for name, expected in zip(model.files, model.hashes, strict=True):
                file = _inside(self.path, name)
                if not file.is_file():
                    raise BundleError(f"{file}: is missing from the bundle")
                if file_hash(file) != expected:
                    raise BundleError(
                        f"{file}: was changed after the bundle was written; do not use it, take "
                        f"the bundle from its source again"
                    )
                loaded.append(keras.models.load_model(file, compile=False, safe_mode=True))
            self._loaded[model.key] = loaded
        return self._loaded[model.key]


def write_bundle(run: Run, predictions: pd.DataFrame, values: Values) -> Path:
    """Write ``bundle.json`` into a trained run.

    The mean of the fold models is calibrated on all out-of-fold predictions (Platt); that very
    ensemble was never itself tested, each of its members was.
    """
    from nodulenet.evaluation.calibrators import fit_platt

    models: dict[str, Any] = {}
    finished = run.finished_units()
    for model in run.config.models:
        rows = predictions[(predictions["model"] == model.key) & (predictions["split"] == "outer")]
        units = [u for u in finished if u.model == model.key]
        if rows.empty or not units:
            continue  # not one of its folds was completed; training has listed why
        files = [run.unit_folder(unit) / "model.keras" for unit in units]
        platt = fit_platt(rows["label"], rows["probability"])
        models[model.key] = {
            "registry_name": model.name,
            # Whom other weights have seen is in no list here.
            "init_from": model.init_from is not None and model.init_from.is_dir(),
            "files": [f.relative_to(run.path).as_posix() for f in files],
            "folds": [unit.fold for unit in units],
            "hashes": [file_hash(f) for f in files],
            # A slope of 0 or less would turn the ranking round: such a model says nothing.
            "calibration": platt.to_dict() if platt.rising else None,
        }
    outer = predictions[predictions["split"] == "outer"].drop_duplicates("finding_id")
    source = run.config.source
    write_json(
        run.path / FILE,
        {
            "format": FORMAT,
            "nodulenet": __version__,
            "name": run.config.name,
            "label_meaning": run.config.label_meaning,
            "probability_of": MEANINGS[run.config.label_meaning].probability_of,
            "label_basis": _label_basis(run),
            "target": run.config.target.model_dump(mode="json") if run.config.target else None,
            "spec": run.config.patch.model_dump(mode="json"),
            "values": values.to_dict(),
            "models": models,
            "training": {
                "source": source.kind,
                **_archive_facts(source),
                "findings": len(outer),
                "positives": int(outer["label"].sum()),
                "patients": int(outer["patient_id"].nunique()),
                **_who_took_part(run, predictions),
            },
            "intended_use": "research use only",
        },
    )
    return run.path / FILE


def _label_basis(run: Run) -> dict[str, int] | None:
    """What the labels rest on, with the number of labelled findings of each; None if not known."""
    findings = run.findings()
    if findings is None or "label_basis" not in findings.columns:
        return None
    basis = findings.loc[findings["label"].notna(), "label_basis"].fillna("not stated")
    return {str(name): int(count) for name, count in basis.value_counts().items()}


def _archive_facts(source: Source) -> dict[str, Any]:
    """How training read its patches, so that others of the kind are read alike."""
    if isinstance(source, PatchArchiveSource):
        return source.model_dump(mode="json", include={"columns", "spacing_mm", "array", "beyond"})
    if isinstance(source, MedMnistSource):
        return {"spacing_mm": source.spacing_mm}
    return {}


def _who_took_part(run: Run, predictions: pd.DataFrame) -> dict[str, Any]:
    """Everybody in ``folds.csv``, those who were never held out included."""
    import pandas as pd

    folds = pd.read_csv(run.path / "folds.csv", dtype={"finding_id": str, "patient_id": str})
    once = folds.drop_duplicates("finding_id")
    content: dict[str, Any] = {
        "run": {
            "findings": len(once),
            "positives": int(once["label"].sum()),
            "patients": int(once["patient_id"].nunique()),
        },
        "patients_hash": None,
        "scans_hash": None,
    }
    if has_patient_ids(run.config.source):
        findings = run.findings()
        scans = predictions if findings is None else findings
        names = list(scans["scan_id"].dropna()) if "scan_id" in scans.columns else []
        content["patients_hash"] = identity_hashes(folds["patient_id"])
        content["scans_hash"] = identity_hashes(scan_uids(names))
    return content


def _calibration(content: dict[str, Any] | None) -> PlattCalibration | None:
    from nodulenet.evaluation.calibrators import PlattCalibration

    return PlattCalibration.from_dict(content) if content else None


def _inside(folder: Path, name: str) -> Path:
    """A listed file, refused when the list leads out of the bundle."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{folder / FILE}: lists {name!r}, which lies outside the bundle")
    return file


def _read(folder: Path) -> dict[str, Any]:
    file = folder / FILE
    if not folder.exists():
        raise BundleError(f"{folder}: there is no such run or bundle directory")
    if not file.is_file():
        what = "a training that has not ended" if (folder / "config.yaml").is_file() else "no run"
        raise BundleError(
            f"{folder}: holds {what}: it has no {FILE}; train with `nodulenet train CONFIG` and "
            f"give the run directory"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{file}: is damaged ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise BundleError(f"{file}: has format {found!r}, this version reads format {FORMAT}")
    return dict(content)
