"""How far a patch lies from those a network was trained on, by the network's own features.

The features are what the last layer with weights is given, averaged over the grid. Their
distribution over training patches is a Gaussian whose main directions are kept and whose other
directions share one variance (probabilistic PCA); the distance is Mahalanobis' to it. Rows that
the network was not trained on say what distances are usual.

Source: Lee K. et al., NeurIPS 2018, arXiv:1807.03888 (Mahalanobis distance of features); Tipping
M. E., Bishop C. M., J. R. Stat. Soc. B 61:611-622, 1999 (probabilistic PCA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodulenet.atomic import atomic_path
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import BundleError
from nodulenet.seeds import generator

if TYPE_CHECKING:
    from nodulenet.patches.store import PatchStore

Floats = npt.NDArray[np.float64]
FILE = "familiarity.npz"
MOST_TRAINED = 2000
"""Training patches whose features are looked at, at most; more of them change little."""
MOST_HELD_OUT = 1000
_MOST_COMPONENTS = 32
_LEAST_ROWS = 20
_CHUNK = 256
_ARRAYS = ("mean", "components", "variances", "residual", "inner", "outer")


@dataclass(frozen=True)
class Familiar:
    """The features of one network's training patches.

    Attributes:
        mean: (features,).
        components: (directions, features), orthonormal rows.
        variances: (directions,), along them.
        residual: variance along every other direction.
        inner: distances of its inner patches, (n,).
        outer: distances of its held-out patches, (m,).
    """

    mean: Floats
    components: Floats
    variances: Floats
    residual: float
    inner: Floats
    outer: Floats

    def distances(self, features: npt.ArrayLike) -> Floats:
        """Mahalanobis distances of features (n, features): float64 (n,)."""
        centred = np.asarray(features, dtype=np.float64) - self.mean
        along = centred @ self.components.T
        beside = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
        squared = (along**2 / self.variances).sum(axis=1) + np.maximum(beside, 0) / self.residual
        return np.sqrt(squared)

    def save(self, path: Path) -> None:
        """Write it as ``.npz`` of float32 arrays."""
        arrays: dict[str, Any] = {
            name: np.asarray(getattr(self, name), dtype=np.float32) for name in _ARRAYS
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Familiar:
        """The inverse of :meth:`save`.

        Raises:
            BundleError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name].astype(np.float64) for name in _ARRAYS}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise BundleError(f"{path}: is damaged ({error}); take it from its source") from error
        return cls(**(arrays | {"residual": float(arrays["residual"])}))


def fit_familiar(trained: Floats, inner: Floats, outer: Floats) -> Familiar | None:
    """From features (n, features) of training, inner and held-out patches; None for too few."""
    if len(trained) < _LEAST_ROWS:
        return None
    from sklearn.decomposition import PCA

    rows, features = trained.shape
    count = min(_MOST_COMPONENTS, rows // 4, features - 1)
    pca = PCA(n_components=count, svd_solver="full").fit(trained)
    # Features that never vary (dead channels) would make any change of theirs infinitely far.
    least = max(float(trained.var(axis=0).mean()) * 1e-3, 1e-12)
    fitted = Familiar(
        mean=pca.mean_,
        components=pca.components_,
        variances=np.maximum(pca.explained_variance_, least),
        residual=max(float(pca.noise_variance_), least),
        inner=np.empty(0),
        outer=np.empty(0),
    )
    return Familiar(
        fitted.mean,
        fitted.components,
        fitted.variances,
        fitted.residual,
        fitted.distances(inner),
        fitted.distances(outer),
    )


def with_features(model: Any) -> Any:
    """A Keras model with the outputs of ``model`` and, second, what its last layer is given.

    The last layer that has a kernel, that is; None where the model is no plain graph of layers.
    """
    from nodulenet.training.backend import keras

    weighted = [layer for layer in model.layers if getattr(layer, "kernel", None) is not None]
    if not weighted:
        return None
    try:
        return keras.Model(model.inputs[0], [model.outputs[0], weighted[-1].input])
    except (AttributeError, ValueError):
        return None


def pooled(features: npt.NDArray[Any]) -> Floats:
    """Features (n, ..., channels) averaged over whatever grid they have: float64 (n, channels)."""
    values = np.asarray(features, dtype=np.float64)
    return values.mean(axis=tuple(range(1, values.ndim - 1)))


def outputs_and_features(
    model: Any, inputs: npt.NDArray[np.float32], batch_size: int = 64
) -> tuple[npt.NDArray[np.float32], Floats]:
    """Outputs (n, classes) and features (n, features) of a model of :func:`with_features`."""
    both = [
        model.predict_on_batch(inputs[i : i + batch_size])
        for i in range(0, len(inputs), batch_size)
    ]
    outputs = np.concatenate([np.asarray(o) for o, _ in both]).astype(np.float32)
    return outputs, np.concatenate([pooled(np.asarray(f)) for _, f in both])


def unit_familiar(
    model: Any,
    store: PatchStore,
    spec: PatchSpec,
    parts: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
) -> Familiar | None:
    """Of a trained network, from positions in the store by part: ``training, inner, outer``.

    None where the model's features cannot be had, or where there are too few patches.
    """
    from nodulenet.training.model_inputs import model_inputs

    asked = with_features(model)
    if asked is None:
        return None
    random = generator(seed, "familiarity")
    features = {}
    for name, rows in parts.items():
        most = MOST_TRAINED if name == "training" else MOST_HELD_OUT
        if len(rows) > most:
            rows = np.sort(random.choice(rows, most, replace=False))
        pieces = [
            outputs_and_features(
                asked, model_inputs(store.patches(rows[i : i + _CHUNK]), spec, store.values)
            )[1]
            for i in range(0, len(rows), _CHUNK)
        ]
        features[name] = np.concatenate(pieces) if pieces else np.empty((0, 0))
    if not len(features["inner"]) or not len(features["outer"]):
        return None
    return fit_familiar(features["training"], features["inner"], features["outer"])
