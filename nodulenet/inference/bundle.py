"""The bundle: everything that a new scan's answer needs, in one directory.

``bundle.json`` lists the fold models with their hashes, the PatchSpec, the value scale, for each
model its calibration, operating points and conformal limits, what a probability means, what
training looked like and, as keyed hashes, whom it saw. A run directory holds one, so a run can be
asked as it is; :mod:`nodulenet.inference.pack` makes one to pass on.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Target
from nodulenet.errors import BundleError, ConfigError, PredictionsError
from nodulenet.evaluation.logistic import logit
from nodulenet.inference.bundle_archive import unpack_archive
from nodulenet.inference.bundled_model import BundledModel, read_models, stack_covariates
from nodulenet.inference.engines import F32, KERAS, Engine, KerasEngine
from nodulenet.inference.export.listing import FILE as LISTING
from nodulenet.inference.export.listing import FOLDER as ENGINES
from nodulenet.inference.export.listing import chosen_engine, open_exported, read_listing
from nodulenet.patches.values import Values
from nodulenet.timings import timed
from nodulenet.training.identities import shared_identities
from nodulenet.versions import file_hash

if TYPE_CHECKING:
    import pandas as pd

    from nodulenet.training.familiarity import Familiar

FORMAT = 2
READABLE = (1, 2)
_TARGET: TypeAdapter[Target | None] = TypeAdapter(Target | None)
FILE = "bundle.json"
# Model inputs are float32 and large; so many are made at a time.
_CHUNK = 256


@dataclass(frozen=True)
class Raw:
    """What the fold models of one model say.

    Attributes:
        by_fold: probabilities, means over the seeds of a fold: (folds, n).
        strangeness: mean distance from the training, 1 is a usual one: (n,); None where the
            bundle does not know.
    """

    by_fold: npt.NDArray[np.float64]
    strangeness: npt.NDArray[np.float64] | None


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
        models: by key, networks in the order of the configuration, then what is made of them; the
            first is the default.
        envelope: limits of the training data, of :mod:`nodulenet.inference.envelope`.
        asked_engine: engine and precision that were asked for.
        engine: which one answers, known once it has been asked.
        engine_notes: what to know of that choice.
        files: hashes of the listed files by name; empty in a run.
        facts: ``nodulenet`` (version), ``label_basis`` (counts) and ``card`` (one line).
        training: what it comes from: ``source``, counts of what was held out, and of all in the
            folds (``run``) with ``patients_hash``, ``pseudonyms_hash`` and ``scans_hash`` of
            :mod:`nodulenet.training.identities` (None where the source has no ids that mean
            anything elsewhere). Older bundles lack the last four.
    """

    def __init__(
        self, path: str | Path, *, engine: str | None = None, precision: str = F32
    ) -> None:
        """Open a run or bundle directory, or a bundle's ``.zip``.

        Args:
            path: where it is.
            engine: ``keras``, ``onnx`` or ``openvino``. Defaults to the fastest that is installed,
                was exported and passed parity, see :mod:`nodulenet.inference.export.listing`.
            precision: of the engine, ``f32`` or ``bf16``. Defaults to ``f32``.

        Raises:
            BundleError: it is none, or of a format that this version does not read.
        """
        self.path = Path(path)
        self._folder = self.path
        self._engine, self._precision = engine, precision
        self.asked_engine = (engine, precision)
        self.engine: str | None = None
        self.engine_notes: tuple[str, ...] = ()
        if self.path.suffix == ".zip" and self.path.is_file():
            # Keras reads models from files; the folder goes when this object does.
            self._unpacked = tempfile.TemporaryDirectory(prefix="nodulenet-bundle-")
            self._folder = Path(self._unpacked.name)
            unpack_archive(self.path, self._folder)
        content = _read(self.path, self._folder)
        try:
            self.name = str(content.get("name", self.path.name))
            self.hash = file_hash(self._folder / FILE)
            self.spec = PatchSpec.model_validate(content["spec"])
            self.values = Values(**content["values"])
            self.label_meaning: str = content["label_meaning"]
            self.target: Target | None = _TARGET.validate_python(content.get("target"))
            self.training: dict[str, Any] = content["training"]
            self.models = read_models(content)
            self.envelope: dict[str, Any] = content.get("envelope") or {}
            self.facts: dict[str, Any] = {
                name: content.get(name) for name in ("nodulenet", "label_basis", "card")
            }
            if not self.models or self.label_meaning not in MEANINGS or self.prevalence < 0:
                raise ValueError("no models, or an unknown label_meaning")
            for name in ("patients_hash", "pseudonyms_hash", "scans_hash"):
                shared_identities((), self.training.get(name))
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            ZeroDivisionError,
            PredictionsError,
        ) as error:
            raise BundleError(
                f"{self.path / FILE}: is not whole ({type(error).__name__}: {error}); write it "
                f"again with `nodulenet train`"
            ) from error
        self.files: dict[str, str] = content.get("files", {})
        for name, expected in self.files.items():
            self.unchanged(name, expected)
        if self._folder != self.path and (self._folder / ENGINES).exists():
            # An archive is never exported into, so what is not listed was put in by somebody.
            listing = f"{ENGINES}/{LISTING}"
            if listing not in self.files:
                raise BundleError(
                    f"{self.path}: holds {listing}, which bundle.json does not list; it was put in "
                    f"after the bundle was written: take the bundle from its source again"
                )
        self._loaded: dict[str, list[_Loaded]] = {}
        self._networks: dict[str, list[Any]] = {}

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
        self,
        stored: npt.NDArray[np.int16],
        key: str | None = None,
        *,
        findings: pd.DataFrame | None = None,
    ) -> npt.NDArray[np.float64]:
        """Raw probabilities of every fold for stored patches, means of its seeds: (folds, n).

        Args:
            stored: (n, *spec.stored_shape), in the bundle's own scale.
            key: which model. Defaults to the first.
            findings: n rows with the covariates that a stack needs. Defaults to none.

        Raises:
            FindingsError: a covariate is absent or empty.
        """
        return self.ask(stored, key, findings=findings).by_fold

    def ask(
        self,
        stored: npt.NDArray[np.int16],
        key: str | None = None,
        *,
        findings: pd.DataFrame | None = None,
    ) -> Raw:
        """As :meth:`predict`, and how strange the patches are to the networks."""
        chosen = self.model(key)
        covariates = None
        if chosen.stack is not None:
            covariates = stack_covariates(chosen, findings, len(stored))
        pieces = [self._ask(stored[i : i + _CHUNK], chosen) for i in range(0, len(stored), _CHUNK)]
        if not pieces:
            return Raw(np.empty((len(dict.fromkeys(chosen.folds)), 0)), None)
        by_model = np.concatenate([answers for answers, _ in pieces], axis=1)
        folds = np.array(chosen.folds)
        means = {fold: by_model[folds == fold].mean(axis=0) for fold in dict.fromkeys(folds)}
        if chosen.stack is not None:
            assert covariates is not None
            fits = chosen.stack.folds
            means = {
                fold: fits[fold].apply(logit(p), covariates)
                for fold, p in means.items()
                if fold in fits
            }
        strange = [s for _, s in pieces if s is not None]
        return Raw(np.stack(list(means.values())), np.concatenate(strange) if strange else None)

    def _ask(
        self, stored: npt.NDArray[np.int16], chosen: BundledModel
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
        """Of a piece: (model files, n) probabilities, and its strangeness (n,)."""
        from nodulenet.training.exact_pose import spec_symmetries
        from nodulenet.training.familiarity import pooled
        from nodulenet.training.model_inputs import model_inputs
        from nodulenet.training.targets import positive_probability

        with timed("engine"):
            loaded = self._load(chosen)
        outputs: list[Any] = [0.0] * len(loaded)
        distances = []
        for pose, symmetry in enumerate(spec_symmetries(self.spec)[: chosen.poses]):
            inputs = model_inputs(stored, self.spec, self.values, symmetry=symmetry)
            for number, one in enumerate(loaded):
                with timed("network"):
                    found = one.engine.outputs(inputs)
                outputs[number] = outputs[number] + found[0]
                # Distances are those of the patch as it is.
                if pose == 0 and one.familiar is not None and len(found) > 1:
                    distances.append(one.familiar.distances(pooled(found[1])) / one.scale)
        answers = [positive_probability(o / np.float32(chosen.poses), self.target) for o in outputs]
        return np.stack(answers), np.mean(distances, axis=0) if distances else None

    def _load(self, model: BundledModel) -> list[_Loaded]:
        if model.network not in self._loaded:
            name, notes = chosen_engine(
                self._folder / ENGINES,
                model.network,
                model.hashes,
                engine=self._engine,
                precision=self._precision,
            )
            self.engine_notes = notes
            self.engine = name
            if name == KERAS:
                engines = self._keras_engines(model)
            else:
                exported = read_listing(self._folder / ENGINES)[model.network]
                engines = open_exported(
                    self._folder / ENGINES, exported, name, precision=self._precision
                )
            self._loaded[model.network] = [
                _Loaded(engine, *self._familiar(model, number))
                for number, engine in enumerate(engines)
            ]
        return self._loaded[model.network]

    def networks(self, key: str | None = None) -> list[Any]:
        """The Keras models behind a model's answers, whichever engine answers: one a file."""
        # Importing the package registers the classes of our saved models.
        from nodulenet.models import register_own_model
        from nodulenet.training.backend import keras

        model = self.model(key)
        if model.network not in self._networks:
            register_own_model(model.registry_name)
            self._networks[model.network] = [
                keras.models.load_model(
                    self.unchanged(name, expected), compile=False, safe_mode=True
                )
                for name, expected in zip(model.files, model.hashes, strict=True)
            ]
        return self._networks[model.network]

    def _keras_engines(self, model: BundledModel) -> list[Engine]:
        from nodulenet.training.familiarity import with_features

        engines: list[Engine] = []
        for network in self.networks(model.key):
            both = with_features(network) if model.familiarity is not None else None
            engines.append(KerasEngine(network if both is None else both))
        return engines

    def _familiar(self, model: BundledModel, number: int) -> tuple[Familiar | None, float]:
        from nodulenet.training.familiarity import Familiar

        shipped = model.familiarity
        if shipped is None:
            return None, 1.0
        file = self.unchanged(shipped.files[number], shipped.hashes[number])
        return Familiar.load(file), shipped.scales[number]

    def unchanged(self, name: str, expected: str) -> Path:
        """A listed file, refused where it is not the one that was listed."""
        file = _inside(self._folder, name)
        if not file.is_file():
            raise BundleError(f"{self.path} ({name}): is missing from the bundle")
        if file_hash(file) != expected:
            raise BundleError(
                f"{self.path} ({name}): was changed after the bundle was written; do not use it, "
                f"take the bundle from its source again"
            )
        return file


@dataclass(frozen=True)
class _Loaded:
    """A fold model, and what it knows of its training patches."""

    engine: Engine
    familiar: Familiar | None
    scale: float


def _inside(folder: Path, name: str) -> Path:
    """A listed file, refused when the list leads out of the bundle."""
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{folder / FILE}: lists {name!r}, which lies outside the bundle")
    return file


def _read(path: Path, folder: Path) -> dict[str, Any]:
    """The list in ``folder``, for messages about ``path``."""
    file = folder / FILE
    if not path.exists():
        raise BundleError(f"{path}: there is no such run or bundle")
    if not file.is_file():
        what = "a training that has not ended" if (folder / "config.yaml").is_file() else "no run"
        raise BundleError(
            f"{path}: holds {what}: it has no {FILE}; train with `nodulenet train CONFIG` and "
            f"give the run directory"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} ({FILE}): is damaged ({error})") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found not in READABLE:
        newer = isinstance(found, int) and found > FORMAT
        remedy = "update nodulenet" if newer else "write it again with `nodulenet train`"
        raise BundleError(
            f"{path} ({FILE}): has format {found!r}, this version reads formats "
            f"{' and '.join(map(str, READABLE))}; {remedy}"
        )
    return dict(content)
