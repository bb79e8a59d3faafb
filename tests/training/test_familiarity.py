"""Distances are Mahalanobis', by an independent computation; strange patches are far."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from nodulenet.errors import BundleError
from nodulenet.models import SqueezeNoduleNetV2
from nodulenet.training.familiarity import (
    Familiar,
    fit_familiar,
    outputs_and_features,
    pooled,
    with_features,
)


def test_the_distance_is_mahalanobis_to_probabilistic_pca(tmp_path: Path) -> None:
    """Oracle: scikit-learn's own covariance of the same model."""
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    mixing = random.normal(size=(60, 60))
    trained, other = random.normal(size=(400, 60)) @ mixing, random.normal(size=(50, 60)) @ mixing
    fitted = fit_familiar(trained, other[:20], other[20:])
    assert fitted is not None
    pca = PCA(n_components=32, svd_solver="full").fit(trained)
    precision = np.linalg.inv(pca.get_covariance())
    centred = other - trained.mean(axis=0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, precision, centred))
    # scikit-learn takes the noise off the kept variances and adds it to all directions.
    np.testing.assert_allclose(fitted.distances(other), expected, rtol=1e-6)
    np.testing.assert_allclose(fitted.outer, expected[20:], rtol=1e-6)
    fitted.save(tmp_path / "f.npz")
    again = Familiar.load(tmp_path / "f.npz")
    np.testing.assert_allclose(again.distances(other), expected, rtol=1e-3)
    (tmp_path / "f.npz").write_bytes(b"PK")
    with pytest.raises(BundleError, match="is damaged"):
        Familiar.load(tmp_path / "f.npz")
    assert fit_familiar(trained[:10], other, other) is None


def test_a_feature_that_never_varied_does_not_make_everything_strange() -> None:
    random = np.random.default_rng(0)
    trained = random.normal(size=(200, 10))
    trained[:, 3] = 0
    fitted = fit_familiar(trained, trained[:20], trained[:20])
    assert fitted is not None
    slightly = trained[:1].copy()
    slightly[0, 3] = 0.01
    assert fitted.distances(slightly)[0] < 2 * fitted.distances(trained[:1])[0] + 1


def test_features_are_what_the_last_convolution_is_given() -> None:
    model = SqueezeNoduleNetV2.from_variant("v2", num_classes=2, input_shape=(32, 32, 1))
    asked = with_features(model)
    inputs = np.random.default_rng(0).random((5, 32, 32, 1), dtype=np.float32)
    outputs, features = outputs_and_features(asked, inputs, batch_size=2)
    np.testing.assert_allclose(outputs, model.predict_on_batch(inputs), atol=1e-6)
    drop9 = keras.Model(model.inputs, model.get_layer("drop9").output)
    expected = np.asarray(drop9.predict_on_batch(inputs)).mean(axis=(1, 2))
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert pooled(np.ones((2, 3))).shape == (2, 3)
    assert with_features(keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])) is None
