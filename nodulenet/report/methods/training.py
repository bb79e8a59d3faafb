"""The models of a run and how they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nodulenet.config.schema import (
    ClassTarget,
    Config,
    ModelConfig,
    SoftTarget,
    StackConfig,
    TrainConfig,
    poses_name,
)
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import count, listed, number, span

_OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam"}
_CHOICE = "why these models; how their settings were found"


def models(facts: MethodsFacts) -> Paragraph:
    """What each evaluated model is."""
    config, evaluated = facts.config, facts.metrics["models"]
    outputs = (
        f"an output for each of {len(config.target.classes)} classes"
        if isinstance(config.target, ClassTarget)
        else "two output classes"
    )
    sentences = [f"The models are convolutional networks with {outputs}."]
    sentences += [_model(m, facts.units) for m in config.models if m.key in evaluated]
    sentences += [
        f"`{poses_name(m)}` is the mean of `{m.key}` over {m.test_poses} poses of each patch."
        for m in config.models
        if poses_name(m) in evaluated
    ]
    if config.train.seeds > 1:
        sentences.append(
            f"In every fold a model was trained from {config.train.seeds} different starts; its "
            f"answer is their mean."
        )
    return Paragraph(
        "Models",
        tuple(sentences),
        claim={"22": "a reference to the architecture, or a drawing", "24": ""}
        | ({"27": ""} if config.train.seeds > 1 else {}),
        tripod={"12c": _CHOICE, "22": "where the trained model can be had"},
    )


def training(facts: MethodsFacts) -> Paragraph:
    """How every model was trained, and which epoch was kept."""
    config, units = facts.config, facts.units
    train = config.train
    fresh = all(m.init_from is None for m in config.models)
    start = "from a fresh initialisation " if fresh else ""
    sentences = [
        f"Each model was trained {start}for at most {train.epochs} epochs in batches of "
        f"{train.batch_size} with {_optimizer(train)}, {listed(_settings(train))}.",
        *_target(config),
        _loss(train),
    ]
    tripod: dict[str, str] = {"12c": _CHOICE}
    balance = _balance(config)
    if balance:
        sentences += balance
        tripod["13"] = "why, and what it does to calibration"
    changes = _augmentation(train)
    if changes:
        sentences.append(f"Training patches were changed at random: {listed(changes)}.")
    if train.augment.resamples:
        sentences.append(
            "All changes of geometry were made by one resampling, within the stored margin."
        )
    if train.weight_average is not None:
        sentences.append(
            f"A moving average of the weights with a momentum of {train.weight_average:g} was "
            f"judged and kept."
        )
    sentences.append(_kept_epoch(train, units))
    if units:
        sentences.append(
            f"{count(len(units))} models were trained, over {span(u['epochs'] for u in units)} "
            f"epochs; the epoch that was kept was {span(u['best_epoch'] for u in units)}."
        )
    if train.precision != "float32":
        sentences.append(f"Computation was in mixed precision (`{train.precision}`).")
    if train.deterministic:
        sentences.append("Operations were deterministic.")
    return Paragraph("Training", tuple(sentences), claim={"25": "", "26": ""}, tripod=tripod)


def stacks(facts: MethodsFacts) -> Paragraph:
    """Which models were joined with covariates, and on whom that was fitted."""
    made = [s for s in facts.config.stacks if s.key in facts.metrics["models"]]
    if not made:
        return Paragraph("Stacks", ())
    return Paragraph(
        "Stacks",
        (
            *(_stack(stack) for stack in made),
            "Each was fitted on the inner part of each fold alone and applied to its held-out "
            "part; for its own inner rows, which its thresholds come from, it was fitted on other "
            "patients of the inner part.",
        ),
        claim={"27": ""},
        tripod={"12b": "", "12c": _CHOICE},
    )


def _stack(stack: StackConfig) -> str:
    columns = listed(
        f"{'the logarithm of ' if c.scale == 'log' else ''}`{c.column}`" for c in stack.columns
    )
    return (
        f"`{stack.key}` is a logistic regression on the logit of the probability of "
        f"`{stack.model}` and {columns}."
    )


def _optimizer(train: TrainConfig) -> str:
    if train.optimizer == "sgd":
        if not train.momentum:
            return "SGD"
        return f"SGD with Nesterov momentum of {train.momentum:g}"
    return _OPTIMIZERS[train.optimizer]


def _settings(train: TrainConfig) -> list[str]:
    peak = f"{train.learning_rate:g}"
    settings = [
        {
            "constant": f"a learning rate of {peak}",
            "cosine": f"a cosine schedule of the learning rate from a peak of {peak}",
            "step": f"a learning rate of {peak} times {train.step_factor:g} after every "
            f"{train.step_epochs} epochs",
        }[train.schedule]
    ]
    if train.warmup_fraction:
        settings.append(f"linear warm-up over a share of {train.warmup_fraction:g} of the steps")
    if train.optimizer == "adamw" and train.weight_decay:
        settings.append(f"decoupled weight decay of {train.weight_decay:g}")
    if train.clip_norm:
        settings.append(f"gradients clipped to a global norm of {train.clip_norm:g}")
    return settings


def _target(config: Config) -> list[str]:
    target = config.target
    if isinstance(target, SoftTarget):
        return [
            f"What was learned is `{target.column}` as a probability, in proportion from "
            f"{target.low:g} (none) to {target.high:g} (certain); findings that have it and no "
            f"label were trained on, and evaluated nowhere."
        ]
    if isinstance(target, ClassTarget):
        return [
            f"What was learned is the class by `{target.column}`, of {len(target.classes)}; the "
            f"probability that is evaluated is that of the positive classes, given that it is a "
            f"positive or a negative one. Findings of other classes were trained on, and "
            f"evaluated nowhere."
        ]
    return []


def _loss(train: TrainConfig) -> str:
    name = (
        f"focal loss with a gamma of {train.focal_gamma:g}"
        if train.loss == "focal"
        else "cross-entropy"
    )
    smoothed = f" with labels smoothed by {train.label_smoothing:g}"
    return f"The loss was the {name}{smoothed if train.label_smoothing else ''}."


def _balance(config: Config) -> list[str]:
    """What was done about classes of different size."""
    train = config.train
    sentences = []
    if train.balanced_batches:
        sentences.append("Every batch held as many positives as negatives, positives repeated.")
    # Soft targets have no classes that could weigh the same.
    elif train.class_weight and not isinstance(config.target, SoftTarget):
        which = "All" if isinstance(config.target, ClassTarget) else "Both"
        sentences.append(f"{which} classes had the same total weight in the loss.")
    if train.negatives_per_positive:
        sentences.append(
            f"In every epoch {number(train.negatives_per_positive)} negatives a positive were "
            f"drawn afresh."
        )
    if train.hard_negatives is not None:
        hard = train.hard_negatives
        sentences.append(
            f"A second round of {hard.epochs} epochs drew a share of {hard.share:g} of its "
            f"negatives from those of the training part that the first round had found hardest."
        )
    return sentences


def _kept_epoch(train: TrainConfig, units: Sequence[Mapping[str, Any]]) -> str:
    if train.monitor is None:
        return "The weights of the last epoch were kept, so that no patients chose the epoch."
    # Units of older versions had no part for it.
    older = any("stop" not in u.get("findings", {"stop": 0}) for u in units)
    part = "inner part" if older else "stopping part, which served nothing else,"
    figure = "AUC" if train.monitor == "val_auc" else "loss"
    ending = (
        f"; training ended after {train.patience} epochs without progress."
        if train.patience
        else "."
    )
    return f"The weights of the epoch with the best {figure} on the {part} were kept{ending}"


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
    start = (
        f"its weights were initialised at random (`{model.kernel_initializer}`)"
        if model.init_from is None
        else f"its training started from the weights of `{model.init_from.name}`"
    )
    return f"{name} has {listed(parts)}; {start}."


def _augmentation(train: TrainConfig) -> list[str]:
    augment = train.augment
    changes = []
    if augment.flips:
        changes.append("mirrored along every axis")
    turned = {
        "quarter_turns": "turned by quarter turns about the z axis",
        "in_plane": "turned by any angle about the z axis",
        "any": "turned in any direction",
    }
    if augment.rotations in turned:
        changes.append(turned[augment.rotations])
    if augment.shift_voxels:
        changes.append(f"shifted by up to {augment.shift_voxels:g} voxels")
    if augment.zoom:
        changes.append(f"zoomed by up to a share of {augment.zoom:g}")
    if augment.hu_offset:
        changes.append(f"offset by up to {augment.hu_offset:g}")
    if augment.hu_scale:
        changes.append(f"changed in contrast by up to a share of {augment.hu_scale:g}")
    if augment.blur:
        changes.append(f"blurred with a standard deviation of up to {augment.blur:g} voxels")
    if augment.sharpen:
        changes.append(f"sharpened with a gain of up to {augment.sharpen:g}")
    if augment.noise:
        changes.append(f"overlaid with noise of standard deviation {augment.noise:g}")
    return changes
