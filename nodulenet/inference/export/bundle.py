"""Exporting the models of a bundle, with the parity of every format that it then has."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nodulenet.cpus import usable_cpus
from nodulenet.errors import UsageError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundled_model import BundledModel
from nodulenet.inference.engines import (
    BF16,
    F32,
    KERAS,
    ONNX,
    OPENVINO,
    Engine,
    Floats,
    KerasEngine,
    cpu_computes_bf16,
    installed_engines,
    open_engine,
)
from nodulenet.inference.export.files import export_onnx, export_openvino
from nodulenet.inference.export.listing import (
    FILE,
    FOLDER,
    ExportedFile,
    ExportedModel,
    exported_file,
    read_listing,
    write_listing,
)
from nodulenet.inference.export.parity import (
    ParityReport,
    ParityRow,
    check_parity,
    feature_difference,
    measure_speeds,
)
from nodulenet.inference.export.rows import ParityPatches, parity_patches
from nodulenet.progress import Progress, Silent
from nodulenet.training.familiarity import with_features
from nodulenet.training.targets import positive_probability

WRITERS = {ONNX: (export_onnx, ".onnx"), OPENVINO: (export_openvino, ".xml")}
MOST_PATCHES = 1000
# Speed is measured in batches of this size.
_BATCH = 16

_Kind = tuple[str, str]  # engine, precision


def export_bundle(
    bundle: Bundle,
    formats: Sequence[str],
    *,
    out: str | Path | None = None,
    model: str | None = None,
    run: str | Path | None = None,
    most_patches: int = MOST_PATCHES,
    threads: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, ExportedModel]:
    """Write a bundle's models in other formats and compare all formats with Keras.

    Formats that were exported before are compared anew, so that one report has them all under
    the same conditions. ``bundle.json`` stays as it is.

    Args:
        bundle: whose models.
        formats: of ``onnx`` and ``openvino``.
        out: folder for the files and ``engines.json``. Defaults to ``BUNDLE/engines``.
        model: key of the only model to export; of poses or a stack, its network. Defaults to all.
        run: the run whose out-of-fold patches parity is checked on. Defaults to the bundle, if it
            is one; without its patches, generated ones are taken.
        most_patches: for the check. Defaults to 1000.
        threads: CPU threads of all engines. Defaults to all usable ones.
        seed: of the draw of patches. Defaults to 0.
        progress: told of every file. Defaults to nobody.

    Returns:
        By model what there is now, parity included; whether it passed is in the rows.

    Raises:
        UsageError: an unknown format, or Keras is not on TensorFlow.
        MissingDependencyError: a package of the format is not installed.
        BundleError: a model file is missing or was changed.
    """
    unknown = sorted(set(formats) - set(WRITERS))
    if unknown or not formats:
        raise UsageError(
            f"export: format {unknown[0] if unknown else '(none)'!r}; expected "
            f"{' or '.join(WRITERS)}"
        )
    if out is None and not bundle.path.is_dir():
        raise UsageError(
            f"export: {bundle.path} is an archive, which stays as it is; unpack it, or give a "
            f"folder (--out DIR)"
        )
    if out is None and f"{FOLDER}/{FILE}" in bundle.files:
        raise UsageError(
            f"export: {bundle.path} was packed with its engines, whose list is hashed; export the "
            f"run and pack it anew, or give a folder (--out DIR)"
        )
    folder = Path(out) if out is not None else bundle.path / FOLDER
    listing = read_listing(folder)
    # Poses and stacks ask a network's models; those are what is exported.
    networks = [m for m in bundle.models.values() if m.key == m.network]
    chosen = networks if model is None else [bundle.models[bundle.model(model).network]]
    reporter = progress or Silent()
    files = sum(len(m.files) for m in chosen)
    with reporter.task("export", files, "models") as task:
        for bundled in chosen:
            patches = parity_patches(
                bundle.spec,
                bundled.key,
                bundled.folds,
                run if run is not None else bundle.path,
                most=most_patches,
                seed=seed,
            )
            before = listing.get(bundled.key)
            work = _ModelExport(bundle, bundled, folder, formats, before, patches, threads)
            for index in range(len(bundled.files)):
                work.export_file(index)
                task.advance(note=bundled.key)
            listing[bundled.key] = work.result()
            # After every model, so that a killed export keeps what it has proved.
            write_listing(folder, listing)
    return {m.key: listing[m.key] for m in chosen}


class _ModelExport:
    """One model of a bundle, file after file; no two Keras models are in memory at a time."""

    def __init__(
        self,
        bundle: Bundle,
        model: BundledModel,
        folder: Path,
        formats: Sequence[str],
        before: ExportedModel | None,
        patches: ParityPatches,
        threads: int | None,
    ) -> None:
        self._bundle, self._model, self._folder = bundle, model, folder
        self._patches, self._threads = patches, threads
        self._formats = tuple(dict.fromkeys(formats))
        kept = {} if before is None else dict(before.files)
        installed = installed_engines()
        self._files: dict[str, list[ExportedFile]] = {
            name: list(kept[name])
            for name in (() if before is None else before.formats(model.hashes))
            if name not in formats and name in installed
        }
        self._files.update({name: [] for name in self._formats})
        # Outputs by engine and precision, then by the group of patches: one entry a model file.
        self._outputs: dict[_Kind, dict[int | None, list[Floats]]] = {}
        self._speeds: dict[_Kind, float] = {}
        # The largest of all models, where they have features.
        self._features: dict[_Kind, float] = {}

    def export_file(self, index: int) -> None:
        """Write one model in all formats and let every engine answer."""
        source_hash = self._model.hashes[index]
        reference = self._load(index)
        # Where the bundle judges how strange a patch is, it needs the features as well.
        familiar = self._model.familiarity is not None
        exported = (with_features(reference.model) if familiar else None) or reference.model
        fold = self._model.folds[index]
        seed = list(self._model.folds[:index]).count(fold)
        for name in self._formats:
            write, suffix = WRITERS[name]
            target = self._folder / self._model.key / name / f"fold-{fold}-seed-{seed}{suffix}"
            write(exported, target, self._bundle.spec.input_shape)
            self._files[name].append(exported_file(self._folder, target, source_hash))
        engines = self._engines(reference, index)
        group = None if None in self._patches.inputs else fold
        inputs = self._patches.inputs[group]
        theirs = KerasEngine(exported).outputs(inputs)[1:] if familiar else ()
        for kind, engine in engines.items():
            outputs = self._outputs.setdefault(kind, {})
            found = engine.outputs(inputs)
            outputs.setdefault(group, []).append(found[0])
            if theirs and len(found) > 1:
                differs = feature_difference(theirs[0], found[1])
                self._features[kind] = max(differs, self._features.get(kind, 0.0))
        if index == 0:
            batch = np.resize(inputs, (_BATCH, *inputs.shape[1:]))
            named = {"/".join(kind): engine for kind, engine in engines.items()}
            speeds = measure_speeds(named, batch)
            self._speeds = {kind: speeds["/".join(kind)] for kind in engines}

    def result(self) -> ExportedModel:
        """The files and the parity of all engines."""
        threads = self._threads or usable_cpus()
        report = ParityReport(
            patches=self._patches.words,
            machine=f"{platform.processor() or platform.machine()}, {threads} threads",
            rows=tuple(self._row(kind) for kind in self._outputs),
        )
        return ExportedModel({n: tuple(f) for n, f in self._files.items()}, report)

    def _row(self, kind: _Kind) -> ParityRow:
        reference, found = self._outputs[KERAS, F32], self._outputs[kind]
        labels = self._patches.labels
        return check_parity(
            [np.stack(reference[group]) for group in reference],
            [np.stack(found[group]) for group in reference],
            engine=kind[0],
            precision=kind[1],
            labels=np.concatenate([labels[g] for g in reference]) if labels else None,
            positive=partial(positive_probability, target=self._bundle.target),
            patches_per_s=round(self._speeds[kind], 1),
            largest_feature_difference=self._features.get(kind),
        )

    def _engines(self, reference: KerasEngine, index: int) -> Mapping[_Kind, Engine]:
        engines: dict[_Kind, Engine] = {(KERAS, F32): reference}
        installed = installed_engines()
        for name, files in self._files.items():
            if name not in installed:
                continue  # ONNX can be written where it cannot be run
            file = self._folder / files[index].file
            engines[name, F32] = open_engine(name, file, threads=self._threads)
            if name == OPENVINO and cpu_computes_bf16():
                engines[name, BF16] = open_engine(name, file, precision=BF16, threads=self._threads)
        return engines

    def _load(self, index: int) -> KerasEngine:
        from nodulenet.models import register_own_model

        file = self._bundle.unchanged(self._model.files[index], self._model.hashes[index])
        register_own_model(self._model.registry_name)
        engine = open_engine(KERAS, file, threads=self._threads)
        assert isinstance(engine, KerasEngine)
        return engine
