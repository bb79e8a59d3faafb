"""``engines/engines.json``: which files were exported for a bundle, their hashes and parity.

It lies beside ``bundle.json`` and is not part of it: an export does not change what a bundle is.
Layout::

    engines/engines.json
    engines/MODEL/onnx/fold-K-seed-S.onnx
    engines/MODEL/openvino/fold-K-seed-S.xml, .bin

Reading it imports no engine and no Keras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodulenet import __version__
from nodulenet.atomic import write_json
from nodulenet.errors import BundleError, UsageError
from nodulenet.inference.engines import (
    F32,
    KERAS,
    Engine,
    installed_engines,
    open_engine,
)
from nodulenet.inference.export.parity import ParityReport, choose_engine
from nodulenet.versions import file_hash

FORMAT = 1
FOLDER, FILE = "engines", "engines.json"


@dataclass(frozen=True)
class ExportedFile:
    """One model of a fold in one format.

    Attributes:
        file: what an engine opens, below the folder of ``engines.json``.
        hashes: by name below that folder, of this file and of those that belong to it.
        exported_from: hash of the ``.keras`` file.
    """

    file: str
    hashes: Mapping[str, str]
    exported_from: str


@dataclass(frozen=True)
class ExportedModel:
    """What was exported of one of a bundle's models.

    Attributes:
        files: by format, in the order of the bundle's own files.
        parity: of all formats that were there at the last export.
    """

    files: Mapping[str, tuple[ExportedFile, ...]]
    parity: ParityReport

    def formats(self, hashes: Sequence[str]) -> tuple[str, ...]:
        """The formats that were made from the files with these hashes, as a bundle lists them."""
        return tuple(
            name
            for name, files in self.files.items()
            if [f.exported_from for f in files] == list(hashes)
        )


def read_listing(folder: str | Path) -> dict[str, ExportedModel]:
    """What was exported into ``BUNDLE/engines``: by model; nothing where there is no list.

    Raises:
        BundleError: the list is damaged, or of another format.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise BundleError(
                f"{file}: has format {content['format']!r}, this version reads format {FORMAT}; "
                f"export again"
            )
        return {
            key: ExportedModel(
                {
                    name: tuple(ExportedFile(**f) for f in files)
                    for name, files in model["files"].items()
                },
                ParityReport.from_dict(model["parity"]),
            )
            for key, model in content["models"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{file}: is damaged ({type(error).__name__}: {error}); export again"
        ) from error


def write_listing(folder: Path, models: Mapping[str, ExportedModel]) -> None:
    """Write ``engines.json``."""
    write_json(
        folder / FILE,
        {
            "format": FORMAT,
            "nodulenet": __version__,
            "models": {
                key: {
                    "files": {
                        name: [
                            {
                                "file": f.file,
                                "hashes": dict(f.hashes),
                                "exported_from": f.exported_from,
                            }
                            for f in files
                        ]
                        for name, files in model.files.items()
                    },
                    "parity": model.parity.to_dict(),
                }
                for key, model in models.items()
            },
            "intended_use": "research use only",
        },
    )


def chosen_engine(
    folder: str | Path,
    model: str,
    hashes: Sequence[str],
    *,
    engine: str | None = None,
    precision: str = F32,
) -> tuple[str, tuple[str, ...]]:
    """Which engine answers for a model of a bundle.

    Args:
        folder: ``BUNDLE/engines``; it need not exist.
        model: key of the model.
        hashes: of the bundle's files of that model, in its order.
        engine: what the user asked for. Defaults to the fastest installed one that passed
            parity in float32.
        precision: with an engine that was asked for.

    Returns:
        Its name, and warnings.

    Raises:
        UsageError: the engine that was asked for was not exported, or from other weights; another
            precision than float32 without an engine.
    """
    if engine == KERAS:
        if precision != F32:
            raise UsageError(f"--precision {precision}: belongs to --engine openvino, not to keras")
        return KERAS, ()
    exported = read_listing(folder).get(model)
    formats = () if exported is None else exported.formats(hashes)
    if engine is None:
        if precision != F32:
            raise UsageError(
                f"--precision {precision}: no engine is chosen by itself but in {F32}; name one "
                f"with --engine"
            )
        if exported is None:
            return KERAS, ()
        available = [n for n in installed_engines() if n == KERAS or n in formats]
        return choose_engine(available, exported.parity), ()
    if exported is None or engine not in formats:
        stale = exported is not None and engine in exported.files
        what = "was exported from other weights" if stale else "was not exported"
        raise UsageError(
            f"--engine {engine}: model {model!r} {what}; run `nodulenet export BUNDLE --format "
            f"{engine}`, or use --engine keras"
        )
    row = exported.parity.row(engine, precision)
    if row is None:
        return engine, (f"{engine} in {precision} was never compared with keras",)
    if not row.passed:
        found = row.largest_difference
        far = "gives no numbers" if found is None else f"differs from keras by up to {found:.2g}"
        return engine, (
            f"{engine} in {precision} did not pass its parity check: it {far}, allowed "
            f"{row.tolerance:g}",
        )
    return engine, ()


def open_exported(
    folder: str | Path,
    exported: ExportedModel,
    engine: str,
    *,
    precision: str = F32,
    threads: int | None = None,
) -> list[Engine]:
    """The engines of all files of a model, after checking that no file was changed.

    Args:
        folder: ``BUNDLE/engines``.
        exported: of the model, from `read_listing`.
        engine: ``onnx`` or ``openvino``.
        precision: as `nodulenet.inference.engines.open_engine`.
        threads: the same.

    Raises:
        BundleError: a file is missing, lies outside the folder, or is not the exported one.
    """
    opened = []
    for listed in exported.files[engine]:
        for name, expected in listed.hashes.items():
            file = _inside(Path(folder), name)
            if not file.is_file():
                raise BundleError(f"{file}: is missing; export again")
            if file_hash(file) != expected:
                raise BundleError(f"{file}: was changed after it was exported; export again")
        if listed.file not in listed.hashes:
            raise BundleError(
                f"{Path(folder) / FILE}: has no hash of {listed.file!r}; export again"
            )
        file = _inside(Path(folder), listed.file)
        opened.append(open_engine(engine, file, precision=precision, threads=threads))
    return opened


def exported_file(folder: Path, file: Path, source_hash: str) -> ExportedFile:
    """The entry of a file that has just been written below ``folder``."""
    parts = [p for p in (file, file.with_suffix(".bin")) if p.is_file()]
    return ExportedFile(
        file=_below(folder, file),
        hashes={_below(folder, part): file_hash(part) for part in parts},
        exported_from=source_hash,
    )


def _below(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _inside(folder: Path, name: Any) -> Path:
    parts = Path(str(name)).parts
    if Path(str(name)).is_absolute() or ".." in parts:
        raise BundleError(f"{folder / FILE}: lists {name!r}, which lies outside the folder")
    return folder / str(name)
