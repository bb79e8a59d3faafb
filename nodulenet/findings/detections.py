"""Boxes of MONAI's lung nodule detection, as the centres of findings.

Sources: MONAI model zoo, bundle ``lung_nodule_ct_detection`` (``configs/inference.json``,
``scripts/detection_saver.py``: an array of ``{box, label, label_scores, image}``), and MONAI
tutorials, ``detection/luna16_testing.py`` (``{"validation": [{box, label, score, image}]}``).
A box is ``cccwhd``: centre x, y, z and size along x, y, z, in world millimetres.

**The space of the boxes.** Both programs read images with an RAS affine and then write boxes
through ``AffineBoxToWorldCoordinated(affine_lps_to_ras=True)``. In spite of its name that option
turns the RAS affine into an LPS one (``orientation_ras_lps``), so the boxes they write are in
**LPS**, the space of LUNA16's tables on which they were trained; hence the default here. With
``affine_lps_to_ras=false``, which the bundle's README allows for other images, boxes are in RAS.
The file does not say which, so whoever changed the option declares ``space="ras"``.

Detecting nodules is out of scope: boxes come from that program, not from this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.ct.volume import LPS_TO_RAS
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.json_file import items, members, number, numbers, read_json, refuse, text
from nodulenet.findings.table import POINT_COLUMNS

BoxSpace = Literal["lps", "ras"]
SCORE_FIELDS = ("label_scores", "score")
"""What the bundle and the tutorial call a box's score."""

_BOX = "centre x, y, z and size w, h, d in mm"
_ENDINGS = (".nii.gz", ".nii", ".mhd", ".mha", ".nrrd", ".dcm")


def read_monai_detections(
    path: str | Path, *, space: BoxSpace = "lps", minimum_score: float | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The boxes of a MONAI detection result, one row a box.

    Args:
        path: the JSON.
        space: space of the boxes; see the module. Defaults to "lps", which the published bundle
            and tutorial write.
        minimum_score: leave out boxes below this score; the bundle keeps all above 0.02, most of
            which are no nodules. Defaults to None: all.

    Returns:
        The table: ``finding_id``, ``scan_id`` (name of the image without folder and ending),
        ``x_lps_mm, y_lps_mm, z_lps_mm`` (centre of the box), ``diameter_mm`` (mean of the box's
        three sizes; boxes are fitted loosely, so this is rougher than a measurement),
        ``detection_score`` and ``detection_label``; and notes. Where all boxes are of one image,
        its name stands in ``image`` instead of ``scan_id``, because a converted copy of a scan
        seldom has the scan's own name; a note says so.

    Raises:
        FindingsError: no such file, no JSON, no such fields, lists of different lengths, a box
            that is not six finite numbers with sizes above 0, a score outside 0..1, or no box
            left; names the field.
        UsageError: an unknown space or a minimum_score outside 0..1.
    """
    return rows_of_detections(
        path, read_json(path, "detections"), space=space, minimum_score=minimum_score
    )


def records_of(data: Any) -> dict[str, Any] | None:
    """The detection records of what a JSON file holds, by their field; None: there are none."""
    if isinstance(data, dict) and "box" in data:
        return {"": data}
    lists = {"": data} if isinstance(data, list) else data
    if not isinstance(lists, dict):
        return None
    records = {
        f"{name}[{i}]": record
        for name, entries in lists.items()
        if isinstance(entries, list)
        for i, record in enumerate(entries)
    }
    if not any(isinstance(record, dict) and "box" in record for record in records.values()):
        return None
    return records


def rows_of_detections(
    file: str | Path, data: Any, *, space: BoxSpace = "lps", minimum_score: float | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """As :func:`read_monai_detections`, from what the file holds."""
    if space not in ("lps", "ras"):
        raise UsageError(f"space is {space!r}; boxes of detections are in 'lps' or 'ras'")
    if minimum_score is not None and not 0 <= minimum_score <= 1:
        raise UsageError(f"minimum_score is {minimum_score}; expected 0 to 1")
    records = records_of(data)
    if records is None:
        refuse(
            file,
            "",
            data,
            "records with box, label, label_scores (or score) and image",
            "give the JSON that MONAI's lung_nodule_ct_detection writes",
        )
    rows: list[dict[str, Any]] = []
    for field, record in records.items():
        rows += _rows(file, field, members(file, field, record), space)
    if not rows:
        raise FindingsError(f"{file}: holds no box; expected at least one detection")
    kept = [r for r in rows if minimum_score is None or r["detection_score"] >= minimum_score]
    notes: list[str] = []
    if len(kept) < len(rows):
        notes.append(f"{file}: {len(rows) - len(kept)} boxes with a score below {minimum_score:g}")
    if not kept:
        best = max(row["detection_score"] for row in rows)
        raise FindingsError(
            f"{file}: no box has a score of at least {minimum_score:g} (the highest of {len(rows)} "
            f"is {best:.3g}); lower minimum_score"
        )
    table = pd.DataFrame(kept)
    if len(records) == 1:
        table = table.rename(columns={"scan_id": "image"})
        name = kept[0]["scan_id"] or "one unnamed image"
        notes.append(f"{file}: all boxes are of {name}; it is taken for the scan that is given")
    else:
        table["finding_id"] = table["scan_id"] + "-" + table["finding_id"]
        _refuse_same_image_twice(file, records)
    return table, tuple(notes)


def _rows(
    file: str | Path, field: str, record: dict[str, Any], space: BoxSpace
) -> list[dict[str, Any]]:
    dot = f"{field}." if field else ""
    boxes = items(file, f"{dot}box", record.get("box"))
    name = next((n for n in SCORE_FIELDS if n in record), SCORE_FIELDS[0])
    scores = items(file, f"{dot}{name}", record.get(name))
    labels = items(file, f"{dot}label", record.get("label", [None] * len(boxes)))
    for other, found in ((name, scores), ("label", labels)):
        if len(found) != len(boxes):
            refuse(
                file, f"{dot}{other}", found, f"as many as boxes ({len(boxes)})", "export it again"
            )
    image = _image(record)
    rows = []
    for i, (box, score, label) in enumerate(zip(boxes, scores, labels, strict=True)):
        *centre, width, height, depth = numbers(file, f"{dot}box[{i}]", box, 6, _BOX)
        if min(width, height, depth) <= 0:
            refuse(
                file,
                f"{dot}box[{i}]",
                f"sizes {width:g}, {height:g}, {depth:g}",
                "sizes above 0 (box mode cccwhd)",
                "export boxes as centre and size",
            )
        certain = number(file, f"{dot}{name}[{i}]", score)
        if not 0 <= certain <= 1:
            refuse(file, f"{dot}{name}[{i}]", score, "a score from 0 to 1", "export it again")
        point = np.array(centre)
        if space == "ras":
            point = point @ LPS_TO_RAS[:3, :3]
        row: dict[str, Any] = {"finding_id": f"detection-{i}", "scan_id": image}
        row.update(zip(POINT_COLUMNS, point.tolist(), strict=True))
        row["diameter_mm"] = (width + height + depth) / 3
        row["detection_score"] = certain
        row["detection_label"] = -1 if label is None else number(file, f"{dot}label[{i}]", label)
        rows.append(row)
    return rows


def _image(record: Any) -> str:
    """Name of a record's image without folder (of any system) and ending."""
    given = record.get("image") if isinstance(record, dict) else None
    # DetectionSaver writes a text; the tutorial's file name may be an array of one.
    while isinstance(given, list) and len(given) == 1:
        given = given[0]
    name = text(given).replace("\\", "/").rstrip("/").rpartition("/")[2]
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def _refuse_same_image_twice(file: str | Path, records: dict[str, Any]) -> None:
    seen: set[str] = set()
    for field, record in records.items():
        image = _image(record)
        if not image or image in seen:
            refuse(
                file,
                f"{field}.image",
                image or None,
                "the name of an image, each image once",
                "split the file by scans",
            )
        seen.add(image)
