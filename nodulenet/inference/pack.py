"""Packing a run into a bundle to pass on: one directory or one ``.zip``, with its model card."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nodulenet.atomic import write_json, write_text
from nodulenet.errors import BundleError, ConfigError, UsageError
from nodulenet.inference.bundle import FILE, FORMAT, Bundle
from nodulenet.inference.bundle_archive import write_archive
from nodulenet.inference.export.listing import FILE as LISTING
from nodulenet.inference.export.listing import FOLDER as ENGINES
from nodulenet.inference.model_card import HTML, MARKDOWN, card_line, card_page, model_card
from nodulenet.inference.monai_metadata import MONAI_FILE, monai_metadata
from nodulenet.progress import Progress
from nodulenet.training.run import Run
from nodulenet.versions import file_hash

REFIT_FOLD = -1
"""Fold number of a model that was trained on all folds."""


def pack_bundle(
    run: str | Path,
    out: str | Path,
    *,
    models: Sequence[str] | None = None,
    refitted: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Pack a trained run, whose files stay as they are.

    Args:
        run: the run directory.
        out: a directory that is not there yet or empty, or a ``.zip``.
        models: networks to pack, with the poses and stacks that ask them. Defaults to all.
        refitted: instead of the fold models pack one of each network that is trained on everything
            (one a seed of the recipe), in ``RUN/refit``. It has no stacks, no range over folds and
            no warning of strange patches, which need findings that were held out. Defaults to
            False.
        progress: told of a refit. Defaults to nobody.

    Returns:
        ``out``.

    Raises:
        BundleError: the run has no whole bundle, or one of another version.
        ConfigError: it has no such network.
        UsageError: ``out`` is there already.
    """
    source, target = Path(run), Path(out)
    refuse_what_is_there(target)
    opened = Bundle(source)
    content = json.loads((opened.path / FILE).read_text(encoding="utf-8"))
    if content["format"] != FORMAT:
        raise BundleError(
            f"{source / FILE}: has format {content['format']}, from an earlier version; write it "
            f"anew with `nodulenet train {source / 'config.yaml'}`, which trains nothing again"
        )
    content = chosen_networks(content, models, source)
    if refitted:
        content = _refitted(content, source, progress)
    return write_packed(target, content, opened.path, _metrics(source), _parameters(source))


def refuse_what_is_there(target: Path) -> None:
    """Refuses to write over anything.

    Raises:
        UsageError: it exists.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise UsageError(f"{target}: is there already; give another name, or remove it")


def chosen_networks(
    content: Mapping[str, Any], models: Sequence[str] | None, where: Path
) -> dict[str, Any]:
    """The list with these networks alone, and what is made of them."""
    known = content["models"]
    wanted = list(known) if models is None else list(models)
    for key in wanted:
        if key not in known:
            raise ConfigError(f"{where}: has no network {key!r}; it has {', '.join(known)}")
    derived = content.get("derived", {})
    return {
        **content,
        "models": {key: known[key] for key in wanted},
        "derived": {k: d for k, d in derived.items() if d["network"] in wanted},
    }


def _refitted(
    content: Mapping[str, Any], source: Path, progress: Progress | None
) -> dict[str, Any]:
    """The list with models that are trained on everything in the place of the fold models."""
    from nodulenet.training.refit import refit

    run = Run.open(source)
    networks, fold_models, epochs = {}, 0, {}
    for key, entry in content["models"].items():
        made = refit(run, key, progress=progress)
        fold_models = max(fold_models, len(entry["files"]))
        epochs[key] = made.epochs
        networks[key] = {
            **entry,
            "files": [file.relative_to(source).as_posix() for file in made.files],
            "hashes": [file_hash(file) for file in made.files],
            "folds": [REFIT_FOLD] * len(made.files),
            "familiarity": None,
        }
    derived = {k: d for k, d in content["derived"].items() if d["stack"] is None}
    return {
        **content,
        "models": networks,
        "derived": derived,
        "refit": {"fold_models": fold_models, "epochs": epochs},
    }


def write_packed(
    target: Path,
    content: Mapping[str, Any],
    source: Path,
    metrics: Mapping[str, Any] | None,
    parameters: Mapping[str, int],
) -> Path:
    """Write a bundle whose files lie below ``source``, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        packed = {**content, "models": _copied(content["models"], source, folder)}
        packed["card"] = card_line(packed, metrics)
        card = model_card(packed, metrics, parameters)
        write_text(folder / MARKDOWN, card)
        write_text(folder / HTML, card_page(card, str(content["name"])))
        write_json(folder / MONAI_FILE, monai_metadata(packed))
        listed = [MARKDOWN, HTML, MONAI_FILE]
        if (source / ENGINES).is_dir() and "refit" not in content:
            # What was exported of the very same models goes along; its list is hashed here.
            shutil.copytree(source / ENGINES, folder / ENGINES)
            listed.append(f"{ENGINES}/{LISTING}")
        packed["files"] = {name: file_hash(folder / name) for name in listed}
        write_json(folder / FILE, packed)
        Bundle(folder)  # what cannot be opened is not handed out
        if target.suffix == ".zip":
            write_archive(folder, target)
        else:
            if target.is_dir():
                target.rmdir()
            folder.rename(target)
    return target


def _copied(networks: Mapping[str, Any], source: Path, folder: Path) -> dict[str, Any]:
    """The networks with their files below ``folder``, under names that say nothing of the run."""
    copied = {}
    for key, entry in networks.items():
        names = [f"models/{key}/{number:02d}.keras" for number in range(len(entry["files"]))]
        _copy_all(entry["files"], entry["hashes"], names, source, folder)
        copied[key] = {**entry, "files": names}
        familiarity = entry.get("familiarity")
        if familiarity is not None:
            own = [f"models/{key}/{number:02d}.familiarity.npz" for number in range(len(names))]
            _copy_all(familiarity["files"], familiarity["hashes"], own, source, folder)
            copied[key]["familiarity"] = {**familiarity, "files": own}
    return copied


def _copy_all(
    files: Sequence[str], hashes: Sequence[str], names: Sequence[str], source: Path, folder: Path
) -> None:
    for file, expected, name in zip(files, hashes, names, strict=True):
        if file_hash(source / file) != expected:
            raise BundleError(
                f"{source / file}: was changed after the training; train its unit again (remove "
                f"its folder and run `nodulenet train`)"
            )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, folder / name)


def _metrics(run: Path) -> dict[str, Any] | None:
    file = run / "metrics.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _parameters(run: Path) -> dict[str, int]:
    if not (run / "config.yaml").is_file():
        return {}
    return {u["model"]: int(u["parameters"]) for u in Run.open(run).units()}
