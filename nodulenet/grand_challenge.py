"""An algorithm container of Grand Challenge's LUNA25: ``python -m nodulenet.grand_challenge``.

Below ``/input`` it reads ``images/chest-ct/*.mha`` (one scan), ``nodule-locations.json`` (points in
LPS mm) and, where it is there, ``clinical-information-lung-ct.json``; below ``/output`` it writes
``lung-nodule-malginancy-likelihoods.json``. The bundle lies in ``/opt/ml/model``, a ``.zip`` or a
directory, as the platform unpacks a model. Nothing is asked of a network.

The challenge scores every listed point, and a file that lacks one fails as a whole. A point that
cannot be answered gets the training's share of positives, which knows nothing of it, and is told on
stderr.

Source: the challenge's public baseline, ``inference.py`` (DIAGNijmegen, luna25-baseline-public).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodulenet.errors import DataError, NoduleNetError

IMAGES = Path("images") / "chest-ct"
LOCATIONS = "nodule-locations.json"
CLINICAL = "clinical-information-lung-ct.json"


def answer_case(root: Path, out: Path, model: Path, *, use: str | None = None) -> list[str]:
    """Answer the one case below ``root``.

    Args:
        root: as ``/input``.
        out: as ``/output``.
        model: a bundle, or a folder that holds one (``*.zip`` or a directory with
            ``bundle.json``).
        use: which of the bundle's models. Defaults to its first.

    Returns:
        What to tell of the case, a line each.

    Raises:
        DataError: not one scan, no bundle, or a bundle that does not answer for malignancy.
        FindingsError: the points or the clinical information are not as the challenge has them.
    """
    from nodulenet.atomic import write_json
    from nodulenet.ct import open_ct
    from nodulenet.findings.luna25 import read_point_list_json
    from nodulenet.findings.table import POINT_COLUMNS
    from nodulenet.inference.bundle import Bundle
    from nodulenet.inference.classify import classify
    from nodulenet.inference.outputs.grand_challenge import FILE, grand_challenge_points

    bundle = Bundle(bundle_below(model))
    if bundle.label_meaning == "candidate":
        raise DataError(
            f"{bundle.path}: answers with the {bundle.meaning}, and the challenge asks for "
            f"malignancy; train on reader_rating or outcome"
        )
    points = read_point_list_json(root / LOCATIONS)
    known = points.drop(columns=["finding_id", *POINT_COLUMNS])
    known = known.assign(**clinical_information(root / CLINICAL))
    answers = classify(
        open_ct(_one_scan(root / IMAGES)),
        points[list(POINT_COLUMNS)].to_numpy(dtype=float),
        bundle,
        finding_ids=list(points["finding_id"]),
        findings=known,
        model=use,
    )
    content = grand_challenge_points(answers)
    there = {entry["name"]: entry for entry in content["points"]}
    # In the order of the challenge's own list.
    content["points"] = [
        there.get(
            name,
            {"name": name, "point": [float(v) for v in place], "probability": bundle.prevalence},
        )
        for name, place in zip(
            points["finding_id"], points[list(POINT_COLUMNS)].to_numpy(dtype=float), strict=True
        )
    ]
    write_json(out / FILE, content)
    told = [*answers.warnings]
    told += [
        f"{f['what']}: {f['error']}; it is handed in with the training's share of positives, "
        f"{bundle.prevalence:.3f}"
        for f in answers.failures
    ]
    return told


def bundle_below(folder: Path) -> Path:
    """The bundle in a folder: itself, or the only one in it.

    Raises:
        DataError: there is none, or more than one.
    """
    if folder.suffix == ".zip" or (folder / "bundle.json").is_file():
        return folder
    found = sorted({*folder.glob("*.zip"), *(f.parent for f in folder.glob("*/bundle.json"))})
    if len(found) != 1:
        raise DataError(
            f"{folder}: holds {len(found)} bundles, expected one: what `nodulenet bundle RUN --out "
            f"NAME.zip` wrote"
        )
    return found[0]


def clinical_information(file: Path) -> dict[str, Any]:
    """``age``, ``age_years`` and ``sex`` of the patient, as far as they are told.

    The age has two names, because LUNA25's table of findings has ``age_years``. Nothing without
    the file.

    Raises:
        FindingsError: it is no JSON object.
    """
    from nodulenet.findings.json_file import members, read_json

    if not file.is_file():
        return {}
    content = members(file, "", read_json(file, "clinical information"))
    lower = {str(key).lower().replace(" ", "_"): value for key, value in content.items()}
    ages = ("age", "age_at_studydate", "age_years")
    named = {"age": ages, "age_years": ages, "sex": ("sex", "gender")}
    found = {
        ours: next((lower[name] for name in names if lower.get(name) is not None), None)
        for ours, names in named.items()
    }
    return {name: value for name, value in found.items() if value is not None}


def _one_scan(folder: Path) -> Path:
    scans = [f for f in sorted(folder.glob("*")) if f.suffix.lower() in (".mha", ".mhd")]
    if len(scans) != 1:
        raise DataError(f"{folder}: holds {len(scans)} scans (.mha), expected one")
    return scans[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """The container's entry point; the roots are options so that it can be tried without one."""
    parser = argparse.ArgumentParser(
        prog="python -m nodulenet.grand_challenge", description=__doc__
    )
    parser.add_argument("--input", type=Path, default=Path("/input"))
    parser.add_argument("--output", type=Path, default=Path("/output"))
    parser.add_argument("--model", type=Path, default=Path("/opt/ml/model"))
    parser.add_argument("--use", help="which of the bundle's models; default its first")
    given = parser.parse_args(arguments)
    try:
        for line in answer_case(given.input, given.output, given.model, use=given.use):
            sys.stderr.write(f"warning: {line}\n")
    except NoduleNetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
