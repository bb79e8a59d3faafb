"""``methods.md``: what was done, in a paper's words, with the CLAIM and TRIPOD+AI items it answers.

Every sentence is made of facts that the software has. What did not happen is not mentioned, and
what the software cannot know is listed for the authors to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodulenet import __version__
from nodulenet.atomic import write_text
from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import (
    Config,
    LabelRule,
    LidcSource,
    Luna16Source,
    MedMnistSource,
    ModelConfig,
    PatchArchiveSource,
    PointsSource,
    TrainConfig,
)
from nodulenet.ct.windows import resolve_windows
from nodulenet.inference.identities import has_patient_ids
from nodulenet.report.checklists import CLAIM, DEVELOPMENT, EVALUATION, TRIPOD_AI

_SOURCES = {
    "luna16": "scans and tables in the layout of the LUNA16 challenge",
    "lidc": "LIDC-IDRI: DICOM series with the XML of its readers",
    "luna25": "the scans and the table of the LUNA25 challenge",
    "points": "own CT scans with given positions of findings",
    "patches": "labelled patches that had been cut beforehand, with a table of their findings",
    "medmnist": "an archive of labelled patches in the layout of MedMNIST",
}
_FORMS = {"3d": "a three-dimensional patch", "2d": "an axial patch"}
_CALIBRATIONS = {
    "platt": "Platt scaling",
    "temperature": "temperature scaling",
    "isotonic": "isotonic regression",
}
_RATIONALE = "why these measures"
_OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD with Nesterov momentum"}


@dataclass(frozen=True, kw_only=True)
class MethodsFacts:
    """What ``methods.md`` is written from, and nothing else.

    Attributes:
        config: The resolved configuration.
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`.
        manifest: ``manifest.json`` of the run, or ``validation.json``: ``versions, nodulenet,
            command, stages, failures, notes``.
        audit: Checks of the leakage audit, ``{"check", "ok", "found", ...}``.
        units: ``unit.json`` of every trained model.
        validation: Facts of :class:`nodulenet.inference.validated.Validated`; with them the text
            is that of an external validation. Defaults to None.
    """

    config: Config
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    audit: Sequence[Mapping[str, Any]] = ()
    units: Sequence[Mapping[str, Any]] = ()
    validation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Paragraph:
    """One paragraph and the items it answers.

    Attributes:
        title: Its heading.
        sentences: Those that have something to say.
        claim, tripod: Item -> what the authors have to add, "" where the item is answered.
    """

    title: str
    sentences: tuple[str, ...]
    claim: Mapping[str, str] = field(default_factory=dict)
    tripod: Mapping[str, str] = field(default_factory=dict)


def write_methods(path: str | Path, facts: MethodsFacts) -> Path:
    """Write :func:`methods_text`, whole or not at all."""
    target = Path(path)
    write_text(target, methods_text(facts))
    return target


def methods_text(facts: MethodsFacts) -> str:
    """The methods of a run or of an external validation, as Markdown.

    After each paragraph stand the checklist items that it answers; ``*`` marks those it answers
    in part. The tables at the end go through all items of both guidelines.

    Args:
        facts: What is known.

    Returns:
        Markdown, ending with a line break.

    Source: CLAIM 2024 update, doi:10.1148/ryai.240300; TRIPOD+AI, doi:10.1136/bmj-2023-078378.
    """
    paragraphs = [p for p in _paragraphs(facts) if p.sentences]
    what = "external validation" if facts.validation else "development and internal validation"
    lines = [
        f"# Methods: {facts.config.name}",
        "",
        f"Draft for a paper on the {what} of a model, written by nodulenet from its own records. "
        f"It says what was done, not why: check it, shorten it, and add what the tables at the "
        f"end leave to the authors. Research use only.",
        "",
    ]
    for paragraph in paragraphs:
        lines += [f"## {paragraph.title}", "", " ".join(paragraph.sentences), ""]
        tag = _tag(paragraph)
        if tag:
            lines += [tag, ""]
    stage = EVALUATION if facts.validation else DEVELOPMENT
    lines += [
        "## Checklists",
        "",
        "The words are short hints of ours; the guidelines themselves say what an item asks for.",
        "",
        "### CLAIM, 2024 update",
        "",
        *_table(CLAIM, [(p.title, p.claim) for p in paragraphs]),
        "",
        "### TRIPOD+AI",
        "",
        *_table(
            {item: asked for item, (_, asked) in TRIPOD_AI.items()},
            [(p.title, p.tripod) for p in paragraphs],
            elsewhere={item for item, (about, _) in TRIPOD_AI.items() if stage not in about},
            stage=stage,
        ),
        "",
        "Sources: Tejani A. S. et al., Radiology: Artificial Intelligence 6:e240300, 2024; "
        "Collins G. S. et al., BMJ 385:e078378, 2024.",
    ]
    return "\n".join(lines) + "\n"


def _paragraphs(facts: MethodsFacts) -> list[_Paragraph]:
    first = [_design(facts), _data(facts), _label(facts.config), _preprocessing(facts.config)]
    if facts.validation:
        middle = [_overlap(facts), _bundle(facts.validation), _recalibration_part(facts.validation)]
    else:
        middle = [
            _partitions(facts),
            _models(facts),
            _training(facts.config.train, facts.units),
        ]
    return [
        *first,
        *middle,
        _discrimination(facts.metrics),
        _calibration(facts),
        _operating_points(facts),
        _comparisons(facts.metrics),
        _baselines(facts.metrics),
        _subgroups(facts.metrics),
        _froc(facts.metrics),
        _results(facts.metrics),
        _software(facts),
        _left_out(facts),
    ]


def _design(facts: MethodsFacts) -> _Paragraph:
    models = _listed(f"`{name}`" for name in facts.metrics["models"])
    if facts.validation:
        bundle = facts.validation["bundle"]
        return _Paragraph(
            "Design",
            (
                f"{models} of the bundle `{bundle['name']}` answered for labelled findings of "
                f"`{facts.config.name}`, as they had been trained elsewhere; nothing was trained "
                f"on these data.",
            ),
            claim={"6": "the clinical question", "33": _independence(facts.audit)},
            tripod={"4": "the objectives in clinical terms"},
        )
    folds = facts.metrics["data"]["folds"]
    how = (
        f"cross-validation over {len(folds)} held-out folds"
        if len(folds) > 1
        else "one held-out part of the data"
    )
    return _Paragraph(
        "Design",
        (f"{models} were developed and evaluated internally by {how}.",),
        claim={"6": "the clinical question", "32": ""},
        tripod={"4": "the objectives in clinical terms"},
    )


def _data(facts: MethodsFacts) -> _Paragraph:
    source, data = facts.config.source, facts.metrics["data"]
    sentences = [f"The data came from {_SOURCES[source.kind]}."]
    claim = {
        "7": "origin, centres, dates, licence",
        "35": "patients who were considered and not included",
    }
    if isinstance(source, Luna16Source):
        sentences.append(f"Positions are those of `{source.candidates}`.")
        if source.negatives_per_positive:
            sentences.append(
                f"Of the negatives, {_number(source.negatives_per_positive)} a positive were drawn "
                f"at random."
            )
            claim["10"] = ""
        if source.leave_out_irrelevant:
            sentences.append(
                "Negatives within the radius of an excluded finding of the challenge were left out."
            )
            claim["10"] = ""
        if source.phantom is not None:
            sentences.append(
                f"The scans are synthetic: {source.phantom.scans} chest phantoms generated by the "
                f"software (seed {source.phantom.seed}). Figures on them say nothing about "
                f"patients."
            )
    elif isinstance(source, LidcSource):
        metric = (
            "voxel indices against the slice thickness, as pylidc does"
            if source.metric == "pylidc"
            else "millimetres"
        )
        sentences.append(
            f"Marks of the readers were joined into nodules by their distance in {metric}; nodules "
            f"of at least {source.minimum_readers} readers were taken."
        )
    elif isinstance(source, PointsSource):
        sentences.append(f"Positions were given in {_space(source.space)}.")
    count = _source_count(facts)
    if count is not None:
        sentences.append(f"The source holds {_count(count)} findings.")
    sentences.append(
        f"Evaluated were {_count(data['findings'])} findings of {_count(data['patients'])} "
        f"patients, {_count(data['positives'])} of them positive and "
        f"{_count(data['negatives'])} negative."
    )
    if not has_patient_ids(source):
        sentences.append("The source names no patients: each row counts as one.")
    return _Paragraph(
        "Data",
        tuple(sentences),
        claim=claim,
        tripod={
            "5a": "why these data, and how representative they are",
            "20a": "patients who were considered and not included",
        },
    )


def _label(config: Config) -> _Paragraph:
    meaning = MEANINGS[config.label_meaning]
    sentences = [
        f"The model gives the probability {meaning.probability_of}.",
        meaning.explanation,
    ]
    claim = {"14": "how the reference was obtained in the source"}
    if config.label_rule is not None:
        sentences.append(_rule(config.label_rule))
        claim["10"] = ""
    return _Paragraph(
        "Reference standard",
        tuple(sentences),
        claim=claim,
        tripod={"8a": "when and how it was assessed, and why it was chosen"},
    )


def _preprocessing(config: Config) -> _Paragraph:
    spec = config.patch
    unit = "mm (x, y)" if spec.form == "2d" else "mm (x, y, z)"
    order = "z, y, x" if len(spec.size) == 3 else "y, x"
    size = " x ".join(map(str, spec.size))
    spacing = " x ".join(f"{s:g}" for s in spec.spacing_mm)
    kind = "given patch" if config.source.kind in ("patches", "medmnist") else "scan"
    sentences = [
        f"Each finding was represented by {_form(spec)} of {size} voxels ({order}) at {spacing} "
        f"{unit}, centred on its position and resampled by {_interpolation(spec)} from the {kind}.",
        f"Places outside it got the value {spec.outside_hu:g}.",
    ]
    source = config.source
    hu = not isinstance(source, MedMnistSource) and not (
        isinstance(source, PatchArchiveSource) and source.value_kind == "intensity"
    )
    windows = [
        f"{f'{name}, ' if isinstance(name, str) else ''}{low:g} to {high:g}"
        for name, (low, high) in zip(spec.windows, resolve_windows(list(spec.windows)), strict=True)
    ]
    values = "Hounsfield units" if hu else "intensities"
    several = len(windows) > 1
    sentences.append(
        f"The window{'s' if several else ''} {_listed(f'({w})' for w in windows)} of {values} "
        f"{'were' if several else 'was'} mapped to the unit interval"
        f"{', each for channels of its own' if several else ''}."
    )
    return _Paragraph(
        "Preprocessing",
        tuple(sentences),
        claim={"9": ""},
        tripod={
            "7": "quality checks, and whether they were alike across groups",
            "9b": "acquisition of the images, and blinding",
            "12b": "",
        },
    )


def _partitions(facts: MethodsFacts) -> _Paragraph:
    folds = facts.config.folds
    number = len(facts.metrics["data"]["folds"])
    by_patient = "All findings of a patient were in one fold."
    sentences: list[str] = []
    if folds.kind == "grouped":
        again = (
            f", and {folds.repeats} times over with other assignments" if folds.repeats > 1 else ""
        )
        sentences = [
            f"Findings were divided into {folds.count} folds, stratified by label and grouped by "
            f"patient{again}.",
            by_patient,
        ]
    elif folds.kind in ("luna16", "luna16_grouped"):
        sentences = [f"The {number} folds are the official subsets of LUNA16."]
        if folds.subsets_per_fold > 1:
            sentences = [
                f"The {number} folds are the official subsets of LUNA16, {folds.subsets_per_fold} "
                f"neighbouring ones each."
            ]
        sentences.append(
            "Findings of a held-out patient in other subsets were left out of that training."
            if folds.kind == "luna16"
            else by_patient
        )
    elif folds.kind == "holdout":
        own = isinstance(facts.config.source, MedMnistSource)
        sentences = [
            "The source's own test part was held out." if own else "One fixed part was held out."
        ]
    elif folds.path is not None:
        sentences = [f"The {number} folds were read from `{folds.path.name}`."]
    if folds.allow_shared_patients:
        sentences = [s for s in sentences if s != by_patient]
        sentences.append("Patients were allowed on both sides of a fold.")
    # Where the source or the file says who is inner, the configured share was not used.
    piece = (
        "part"
        if folds.kind in ("holdout", "file")
        else f"one of {max(2, round(1 / folds.inner_fraction))} equal pieces"
    )
    sentences.append(
        f"In every fold {piece} of the training patients was kept for inner validation: the epoch, "
        f"the thresholds and any recalibration were chosen on it, nothing on the held-out part."
    )
    units = [u for u in facts.units if "findings" in u and "positives" in u]
    if units:
        parts = [
            f"{_range(u['findings'][name] for u in units)} "
            f"({_range(u['positives'][name] for u in units)} positive) {word}"
            for name, word in (
                ("train", "for training"),
                ("inner", "for inner validation"),
                ("outer", "held out"),
            )
        ]
        sentences.append(f"Findings by model: {_listed(parts)}.")
    sentences += _audit(facts.audit)
    return _Paragraph(
        "Partitions",
        tuple(sentences),
        claim={"19": "", "20": ""},
        tripod={"12a": "considerations of sample size", "21": ""},
    )


def _models(facts: MethodsFacts) -> _Paragraph:
    models = [m for m in facts.config.models if m.key in facts.metrics["models"]]
    sentences = ["The models are convolutional networks with two output classes."]
    sentences += [_model(m, facts.units) for m in models]
    return _Paragraph(
        "Models",
        tuple(sentences),
        claim={"22": "a reference to the architecture, or a drawing", "24": ""},
        tripod={
            "12c": "why these models; how their settings were found",
            "22": "where the trained model can be had",
        },
    )


def _model(model: ModelConfig, units: Sequence[Mapping[str, Any]]) -> str:
    parameters = {u["parameters"] for u in units if u.get("model") == model.key}
    name = f"`{model.key}`" + (f" ({model.name})" if model.key != model.name else "")
    parts = [f"{_count(min(parameters))} parameters"] if parameters else []
    if model.normalization:
        parts.append(f"{model.normalization} normalisation")
    if model.dropout_rate:
        parts.append(f"dropout at a rate of {model.dropout_rate:g}")
    if model.weight_decay:
        parts.append(f"an L2 penalty of {model.weight_decay:g} on the kernels")
    parts.append(f"a {model.head_activation} activation of the last convolution")
    return (
        f"{name} has {_listed(parts)}; its weights were initialised at random "
        f"(`{model.kernel_initializer}`)."
    )


def _training(train: TrainConfig, units: Sequence[Mapping[str, Any]]) -> _Paragraph:
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
        f"batches of {train.batch_size} with {_OPTIMIZERS[train.optimizer]}, {_listed(settings)}.",
        "The loss was the cross-entropy"
        + (
            f" with labels smoothed by {train.label_smoothing:g}." if train.label_smoothing else "."
        ),
    ]
    tripod: dict[str, str] = {"12c": "why these models; how their settings were found"}
    if train.class_weight:
        sentences.append("Both classes had the same total weight in the loss.")
        tripod["13"] = "why, and what it does to calibration"
    if train.negatives_per_positive:
        sentences.append(
            f"In every epoch {_number(train.negatives_per_positive)} negatives a positive were "
            f"drawn afresh."
        )
        tripod["13"] = "why, and what it does to calibration"
    changes = _augmentation(train)
    if changes:
        sentences.append(f"Training patches were changed at random: {_listed(changes)}.")
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
            f"{_count(len(units))} models were trained, over {_range(u['epochs'] for u in units)} "
            f"epochs; the epoch that was kept was {_range(u['best_epoch'] for u in units)}."
        )
    if train.deterministic:
        sentences.append("Operations were deterministic.")
    return _Paragraph("Training", tuple(sentences), claim={"25": "", "26": ""}, tripod=tripod)


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


def _overlap(facts: MethodsFacts) -> _Paragraph:
    return _Paragraph(
        "Independence of the data",
        tuple(_audit(facts.audit)),
        claim={"20": ""} if all(c["ok"] for c in facts.audit) else {},
        tripod={"16": "differences in setting, eligibility, outcome and acquisition"},
    )


def _bundle(validation: Mapping[str, Any]) -> _Paragraph:
    bundle = validation["bundle"]
    training = bundle["training"]
    # Older bundles count what was held out, which in a hold-out is not what was trained on.
    counts, whose = training, "its out-of-fold predictions are of"
    if "run" in training:
        counts, whose = training["run"], "its folds hold"
    sentences = [
        f"The bundle (hash `{bundle['hash']}`) comes from a training on a source of the kind "
        f"`{training['source']}`; {whose} {_count(counts['findings'])} findings of "
        f"{_count(counts['patients'])} patients, {_count(counts['positives'])} of them positive."
    ]
    for key, model in bundle["models"].items():
        calibration = model["calibration"]
        after = (
            f", calibrated by {_CALIBRATIONS.get(calibration['kind'], calibration['kind'])} that "
            f"had been fitted on the out-of-fold predictions of the training"
            if calibration
            else ""
        )
        sentences.append(
            f"The probability of `{key}` is the mean of its {model['fold_models']} fold "
            f"models{after}."
        )
    return _Paragraph(
        "Predictions",
        tuple(sentences),
        claim={"22": "a reference to the architecture and its training", "27": ""},
        tripod={"12g": "", "21": "the numbers of the development study in full"},
    )


def _recalibration_part(validation: Mapping[str, Any]) -> _Paragraph:
    part = validation["recalibration"]
    if not part:
        return _Paragraph("Part for recalibration", ())
    inner, outer = part["inner"], part["outer"]
    return _Paragraph(
        "Part for recalibration",
        (
            f"A share of {part['share']:g} of the patients, drawn at random (seed {part['seed']}) "
            f"within those with and those without a positive finding, was set aside: "
            f"{_count(inner['findings'])} findings of {_count(inner['patients'])} patients, "
            f"{_count(inner['positives'])} positive. Recalibrations and thresholds were fitted on "
            f"them; all figures are of the other {_count(outer['findings'])} findings of "
            f"{_count(outer['patients'])} patients, {_count(outer['positives'])} positive.",
        ),
        claim={"19": "", "20": ""},
        tripod={"12f": "", "21": "the numbers of the development study in full"},
    )


def _discrimination(metrics: Mapping[str, Any]) -> _Paragraph:
    pooled = [m["pooled"] for m in metrics["models"].values()]
    if not any(p.get("auc") for p in pooled):
        return _Paragraph("Discrimination", ())
    settings = metrics["settings"]
    level = f"{100 * settings['level']:g}%"
    sentences = [
        f"Discrimination was measured by the area under the ROC curve (AUC) of all evaluated rows "
        f"together, with {level} intervals from {_count(settings['n_bootstrap'])} bootstrap "
        f"resamples of whole patients (percentiles) and by DeLong's method, which takes findings "
        f"as independent."
    ]
    more = []
    if any(p.get("partial_auc") for p in pooled):
        more.append(
            f"the partial AUC up to a false-positive rate of {settings['max_fpr']:g}, standardised"
        )
    if any(p.get("average_precision") is not None for p in pooled):
        more.append("average precision")
    if any(p.get("sensitivity_at_specificity") for p in pooled):
        more.append(f"sensitivity at a specificity of {settings['specificity']:g}")
    if any(p.get("specificity_at_sensitivity") for p in pooled):
        more.append(f"specificity at a sensitivity of {settings['sensitivity']:g}")
    if more:
        sentences.append(
            f"Further measures were {_listed(more)}; intervals of proportions are Wilson's."
        )
    if len(metrics["data"]["folds"]) > 1:
        sentences.append(
            "Besides, each fold was measured by itself; mean and standard deviation over the folds "
            "are given apart from the pooled figures, and are no confidence interval."
        )
    return _Paragraph(
        "Discrimination", tuple(sentences), claim={"28": "", "29": ""}, tripod={"12e": _RATIONALE}
    )


def _calibration(facts: MethodsFacts) -> _Paragraph:
    models = facts.metrics["models"]
    sentences = []
    if any(m.get("calibration") for m in models.values()):
        bins = {m["pooled"]["ece_bins"] for m in models.values() if m["pooled"].get("ece_bins")}
        sentences.append(
            "Calibration was measured by the Brier score, calibration slope, intercept and "
            "calibration in the large, the expected calibration error"
            + (f" ({max(bins)} bins)" if bins else "")
            + " and a reliability diagram."
        )
    done = [m["recalibration"] for m in models.values() if m.get("recalibration")]
    methods = list(
        dict.fromkeys(
            method
            for r in done
            if r["available"]
            for method, after in r["after"].items()
            if after["available"]
        )
    )
    claim = {"28": ""} if sentences else {}
    tripod = {"12e": _RATIONALE} if sentences else {}
    if methods:
        where = (
            "on the part set aside for it and measured, before and after, on the other patients"
            if facts.validation
            else "on the inner part of each fold and measured, before and after, on its held-out "
            "part"
        )
        sentences.append(
            f"{_capital(_listed(_CALIBRATIONS[m] for m in methods))} "
            f"{'were' if len(methods) > 1 else 'was'} fitted {where}."
        )
        if facts.validation:
            tripod |= {"12f": "", "24": "the updated model, if it is to be used"}
    return _Paragraph("Calibration", tuple(sentences), claim=claim, tripod=tripod)


def _operating_points(facts: MethodsFacts) -> _Paragraph:
    metrics = facts.metrics
    points = [p for m in metrics["models"].values() for p in m.get("operating_points", [])]
    chosen = list(dict.fromkeys(p["name"] for p in points if p["kind"] != "fixed"))
    fixed = list(dict.fromkeys(p["name"] for p in points if p["kind"] == "fixed"))
    if not points:
        return _Paragraph("Operating points", ())
    sentences = ["A finding counts as positive where its probability reaches the threshold."]
    if chosen:
        where = (
            "on the part set aside for it and applied to the other patients"
            if facts.validation
            else "on the inner part of each fold and applied to its held-out part"
        )
        sentences.append(f"Thresholds were chosen {where}: {_listed(chosen)}.")
    if fixed:
        sentences.append(f"The threshold {_listed(fixed)} was fixed beforehand.")
    prevalences = metrics["settings"].get("prevalences") or []
    if prevalences:
        sentences.append(
            f"Predictive values are also given at a prevalence of "
            f"{_listed(f'{p:g}' for p in prevalences)}, by Bayes' rule."
        )
    return _Paragraph(
        "Operating points",
        tuple(sentences),
        claim={"28": ""},
        tripod={"15": "why these operating points suit the clinical purpose"},
    )


def _comparisons(metrics: Mapping[str, Any]) -> _Paragraph:
    rows = [r for r in metrics.get("comparisons", []) if r.get("available")]
    if not rows:
        return _Paragraph("Comparison of models", ())
    pairs = _listed(f"`{r['first']}` with `{r['second']}`" for r in rows)
    sentences = [
        f"Compared on the same findings were {pairs}, by the difference of their AUCs with a "
        f"paired bootstrap of whole patients and DeLong's paired test."
    ]
    tests = [r["mcnemar"] for r in rows if (r.get("mcnemar") or {}).get("available")]
    if tests:
        sentences.append(
            f"Sensitivity and specificity at the operating point {tests[0]['operating_point']} "
            f"were compared by McNemar's exact test."
        )
    family = max(int(r.get("tests_in_family") or 1) for r in rows)
    if family > 1:
        sentences.append(f"P values were corrected by Holm's method over {family} pairs.")
    margin = metrics["settings"].get("margin")
    if margin is not None and any(r.get("non_inferiority") for r in rows):
        sentences.append(
            f"Non-inferiority was judged at a margin of {margin:g} of AUC, by the lower limit of "
            f"the bootstrap interval."
        )
    return _Paragraph(
        "Comparison of models", tuple(sentences), claim={"29": ""}, tripod={"12e": _RATIONALE}
    )


def _baselines(metrics: Mapping[str, Any]) -> _Paragraph:
    sentences = []
    size = metrics.get("size_only") or {}
    if size.get("available"):
        sentences.append(
            f"The size alone (`{size['column']}`, known for {_count(size['with_size'])} of "
            f"{_count(size['findings'])} findings) was evaluated as a score like the models."
        )
    if (metrics.get("brock") or {}).get("available"):
        sentences.append(
            "The Brock (PanCan) malignancy probability was computed from its covariates and "
            "evaluated likewise."
        )
    return _Paragraph("Baselines", tuple(sentences), claim={"28": ""}, tripod={"12e": _RATIONALE})


def _subgroups(metrics: Mapping[str, Any]) -> _Paragraph:
    columns = [s["column"] for s in metrics.get("subgroups") or [] if s.get("available", True)]
    if not columns:
        return _Paragraph("Subgroups", ())
    smallest = metrics["settings"].get("smallest_group")
    flagged = (
        f" Groups with fewer than {smallest} findings of a class are marked." if smallest else ""
    )
    return _Paragraph(
        "Subgroups",
        (
            f"The same figures were computed in groups by {_listed(f'`{c}`' for c in columns)}, "
            f"to describe; no hypothesis was tested.{flagged}",
        ),
        claim={"30": "further analyses of robustness"},
        tripod={"23a": "subgroups by sociodemographic characteristics"},
    )


def _froc(metrics: Mapping[str, Any]) -> _Paragraph:
    found = [m["froc"] for m in metrics["models"].values() if (m.get("froc") or {}).get("cpm")]
    if not found:
        return _Paragraph("FROC", ())
    first = found[0]
    return _Paragraph(
        "FROC",
        (
            f"Free-response ROC analysis followed the rules of the LUNA16 challenge over "
            f"{_count(first['scans'])} scans with {_count(first['nodules'])} nodules: sensitivity "
            f"at {_listed(f'{r:g}' for r in first['fp_rates'])} false positives a scan and their "
            f"mean, with intervals from {_count(first['interval']['n_bootstrap'])} resamples of "
            f"the scans.",
        ),
        claim={"28": "", "29": ""},
        tripod={"12e": _RATIONALE},
    )


def _results(metrics: Mapping[str, Any]) -> _Paragraph:
    sentences = []
    for name, model in metrics["models"].items():
        auc = model["pooled"].get("auc")
        if auc:
            limits = auc["patient_bootstrap"]
            interval = (
                f" ({100 * limits['level']:g}% interval {limits['low']:.3f} to "
                f"{limits['high']:.3f}, patient bootstrap)"
                if limits.get("low") is not None
                else ""
            )
            sentences.append(f"`{name}`: AUC {auc['value']:.3f}{interval}.")
    if sentences:
        sentences.append("All figures are in `report.html` and `metrics.json`.")
    return _Paragraph(
        "Results",
        tuple(sentences),
        claim={
            "37": "the figures of the report, in the paper",
            "38": "the figures of the report, in the paper",
            "39": "what the wrong results have in common (the report shows some)",
        },
        tripod={"23a": "subgroups by sociodemographic characteristics"},
    )


def _software(facts: MethodsFacts) -> _Paragraph:
    versions = facts.manifest.get("versions") or {}
    others = [f"{name} {version}" for name, version in versions.items()]
    sentences = [
        f"nodulenet {facts.manifest.get('nodulenet', __version__)} was used"
        + (f" with {_listed(others)}." if others else ".")
    ]
    sentences.append(
        f"All random choices derive from the seed {facts.config.seed}; those of the bootstraps "
        f"from {facts.metrics['settings']['seed']}."
    )
    command = facts.manifest.get("command") or (
        facts.manifest.get("stages", {}).get("train", {}).get("command")
    )
    if command:
        sentences.append(f"The command was `{command}`.")
    return _Paragraph(
        "Software",
        tuple(sentences),
        claim={"23": "", "43": "where code, model and data can be had"},
        tripod={"18f": "where the code of the analysis can be had"},
    )


def _left_out(facts: MethodsFacts) -> _Paragraph:
    failures = facts.manifest.get("failures") or []
    sentences = []
    if failures:
        shown = [str(f.get("what", "")) for f in failures[:10]]
        what = "one failed" if len(failures) == 1 else f"{_count(len(failures))} failed"
        more = ", among others" if len(failures) > len(shown) else ""
        sentences.append(
            f"Of scans, findings and models {what} and could not be used{more}: {_listed(shown)}."
        )
    if facts.validation:
        counts = facts.validation["counts"]
        if counts["with_label_and_patch"] < counts["findings"]:
            sentences.append(
                f"Of {_count(counts['findings'])} findings {_count(counts['with_label'])} have a "
                f"label, and {_count(counts['with_label_and_patch'])} of them a patch; only these "
                f"were used."
            )
    notes = facts.manifest.get("notes") or facts.manifest.get("stages", {}).get("train", {}).get(
        "notes", []
    )
    lost = bool(sentences)
    if notes:
        sentences.append("The software noted: " + "; ".join(map(str, notes)) + ".")
    return _Paragraph(
        "Exclusions and notes",
        tuple(sentences),
        claim={"12": "how the losses may bias the results"} if lost else {},
        tripod={"11": "how the losses may bias the results"} if lost else {},
    )


def _audit(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [str(c["found"]) for c in checks]
    return [f"The audit for leaks reports: {'; '.join(found)}."] if found else []


def _independence(checks: Iterable[Mapping[str, Any]]) -> str:
    """What the authors have to say where data are not shown to be of other patients."""
    answers = [c["ok"] for c in checks]
    if answers and all(answers):
        return ""
    known = any(ok is False for ok in answers)
    return f"{'why' if known else 'whether'} patients of the training are among these"


def _source_count(facts: MethodsFacts) -> int | None:
    if facts.validation:
        return int(facts.validation["counts"]["findings"])
    count = facts.manifest.get("stages", {}).get("train", {}).get("source", {}).get("findings")
    return None if count is None else int(count)


def _rule(rule: LabelRule) -> str:
    return (
        f"A finding is positive where `{rule.column}` is {_values(rule.positive)}, and negative "
        f"where it is {_values(rule.negative)}; findings that fit neither have no label and were "
        f"left out."
    )


def _values(values: Sequence[float | str]) -> str:
    if len(values) == 2 and all(isinstance(v, int | float) for v in values):
        return f"from {_number(values[0])} to {_number(values[1])}"
    return " or ".join(_number(v) for v in values)


def _form(spec: PatchSpec) -> str:
    if spec.orthogonal_planes:
        return "its axial, coronal and sagittal plane as channels, each"
    if spec.neighbouring_slices:
        return "a stack of neighbouring axial slices as channels"
    return _FORMS[spec.form]


def _interpolation(spec: PatchSpec) -> str:
    return "linear interpolation" if spec.interpolation == "linear" else "B-spline interpolation"


def _space(space: str) -> str:
    return "voxel indices" if space == "voxel" else f"{space.upper()} millimetres"


def _range(values: Iterable[int]) -> str:
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    return _count(low) if low == high else f"{_count(low)} to {_count(high)}"


def _listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(words)
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(number: int) -> str:
    return f"{number:,}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _tag(paragraph: _Paragraph) -> str:
    parts = [
        f"{name} {', '.join(item + ('*' if missing else '') for item, missing in items.items())}"
        for name, items in (("CLAIM", paragraph.claim), ("TRIPOD+AI", paragraph.tripod))
        if items
    ]
    return f"[{'; '.join(parts)}]" if parts else ""


def _table(
    asked: Mapping[str, str],
    answers: Sequence[tuple[str, Mapping[str, str]]],
    *,
    elsewhere: Iterable[str] = (),
    stage: str = "",
) -> list[str]:
    """All items of a guideline: answered above, in part, or for the authors."""
    lines = ["| item | about | where |", "|---|---|---|"]
    other = (
        "about development: see the paper on the model"
        if stage == EVALUATION
        else "about the evaluation of an existing model"
    )
    for item, what in asked.items():
        found = [(title, items[item]) for title, items in answers if item in items]
        if not found:
            where = (
                other if item in set(elsewhere) else "**not known to the software: to be written"
            )
            where += "" if item in set(elsewhere) else " by the authors**"
        else:
            titles = _listed(f"*{title}*" for title, _ in found)
            missing = list(dict.fromkeys(m for _, m in found if m))
            # Wherever one paragraph answers an item fully, it is answered.
            whole = any(not m for _, m in found)
            where = titles if whole else f"in part: {titles}; to add: {'; '.join(missing)}"
        lines.append(f"| {item} | {what} | {where} |")
    return lines
