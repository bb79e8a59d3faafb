"""The models of a run and how they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodulenet.config.schema import ModelConfig, TrainConfig
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import count, listed, number, span

_OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum"}
_CHOICE = "why these models; how their settings were found"


def models(facts: MethodsFacts) -> Paragraph:
    """What each evaluated model is."""
    sentences = ["The models are convolutional networks with two output classes."]
    sentences += [
        _model(m, facts.units) for m in facts.config.models if m.key in facts.metrics["models"]
    ]
    return Paragraph(
        "Models",
        tuple(sentences),
        claim={"22": "a reference to the architecture, or a drawing", "24": ""},
        tripod={"12c": _CHOICE, "22": "where the trained model can be had"},
    )


def training(train: TrainConfig, units: Sequence[Mapping[str, Any]]) -> Paragraph:
    """How every model was trained, and which epoch was kept."""
    settings = [
        f"a learning rate of {train.learning_rate:g}"
        if train.schedule == "constant"
        else f"a cosine schedule of the learning rate from a peak of {train.learning_rate:g}"
    ]
    if train.warmup_fraction and train.schedule == "cosine":
        settings.append(f"linear warm-up over a share of {train.warmup_fraction:g} of the steps")
    if train.optimizer == "adamw" and train.weight_decay:
        settings.append(f"decoupled weight decay of {train.weight_decay:g}")
    if train.clip_norm:
        settings.append(f"gradients clipped to a global norm of {train.clip_norm:g}")
    sentences = [
        f"Each model was trained from a fresh initialisation for at most {train.epochs} epochs in "
        f"batches of {train.batch_size} with {_OPTIMIZERS[train.optimizer]}, {listed(settings)}.",
        "The loss was the cross-entropy"
        + (
            f" with labels smoothed by {train.label_smoothing:g}." if train.label_smoothing else "."
        ),
    ]
    tripod: dict[str, str] = {"12c": _CHOICE}
    if train.class_weight:
        sentences.append("Both classes had the same total weight in the loss.")
        tripod["13"] = "why, and what it does to calibration"
    if train.negatives_per_positive:
        sentences.append(
            f"In every epoch {number(train.negatives_per_positive)} negatives a positive were "
            f"drawn afresh."
        )
        tripod["13"] = "why, and what it does to calibration"
    changes = _augmentation(train)
    if changes:
        sentences.append(f"Training patches were changed at random: {listed(changes)}.")
    figure = "AUC" if train.monitor == "val_auc" else "loss"
    sentences.append(
        f"The weights of the epoch with the best {figure} on the inner part were kept"
        + (
            f"; training ended after {train.patience} epochs without progress."
            if train.patience
            else "."
        )
    )
    if units:
        sentences.append(
            f"{count(len(units))} models were trained, over {span(u['epochs'] for u in units)} "
            f"epochs; the epoch that was kept was {span(u['best_epoch'] for u in units)}."
        )
    if train.deterministic:
        sentences.append("Operations were deterministic.")
    return Paragraph("Training", tuple(sentences), claim={"25": "", "26": ""}, tripod=tripod)


def _model(model: ModelConfig, units: Sequence[Mapping[str, Any]]) -> str:
    parameters = {u["parameters"] for u in units if u.get("model") == model.key}
    name = f"`{model.key}`" + (f" ({model.name})" if model.key != model.name else "")
    parts = [f"{count(min(parameters))} parameters"] if parameters else []
    if model.normalization:
        parts.append(f"{model.normalization} normalisation")
    if model.dropout_rate:
        parts.append(f"dropout at a rate of {model.dropout_rate:g}")
    if model.weight_decay:
        parts.append(f"an L2 penalty of {model.weight_decay:g} on the kernels")
    parts.append(f"a {model.head_activation} activation of the last convolution")
    return (
        f"{name} has {listed(parts)}; its weights were initialised at random "
        f"(`{model.kernel_initializer}`)."
    )


def _augmentation(train: TrainConfig) -> list[str]:
    augment = train.augment
    changes = []
    if augment.flips:
        changes.append("mirrored along every axis")
    if augment.rotations:
        changes.append("turned by quarter turns about the z axis")
    if augment.shift_voxels:
        changes.append(f"shifted by up to {augment.shift_voxels} voxels")
    if augment.hu_offset:
        changes.append(f"offset by up to {augment.hu_offset:g}")
    if augment.noise:
        changes.append(f"overlaid with noise of standard deviation {augment.noise:g}")
    return changes
