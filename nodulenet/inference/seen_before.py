"""Whether anybody in new data, or any of their patches, was in the training of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.errors import DataError, NoduleNetError
from nodulenet.findings.reading import read_csv
from nodulenet.inference.bundle import Bundle
from nodulenet.patches.near_duplicates import CONTENT_SD_HU
from nodulenet.patches.store import PatchStore
from nodulenet.privacy import is_pseudonym, known_pseudonyms
from nodulenet.training.identities import (
    has_patient_ids,
    scan_uids,
    shared_identities,
    shared_patients,
)
from nodulenet.training.run import Run


def patients_check(
    table: pd.DataFrame, originals: Mapping[str, str], config: Config, bundle: Bundle
) -> dict[str, Any]:
    """Whether anybody here was trained on, in the form of an audit's check.

    ``ok`` is None where nobody can know.

    Raises:
        DataError: somebody was, and it is not allowed.
    """
    check: dict[str, Any] = {"check": "patients of the training", "leak": True, "count": 0}
    unknown = _why_unknown(config, bundle)
    names = table["patient_id"].astype(str)
    if unknown:
        return check | {
            "ok": None,
            "found": f"it could not be checked whether patients were trained on: {unknown}",
        }
    trained = bundle.training
    if "patients_hash" in trained:
        shared = shared_patients(names, trained, originals=originals)
        scans = shared_identities(scan_uids(table["scan_id"]), trained.get("scans_hash"))
        basis = "keyed hashes of patients and scans in the bundle"
    else:
        known = set(read_csv(bundle.path / "folds.csv", ids=["patient_id"])["patient_id"])
        known |= set(known_pseudonyms(known).values())
        also = known_pseudonyms(names)
        shared = [n for n in dict.fromkeys(names) if {n, originals.get(n), also.get(n)} & known]
        scans = []
        basis = "folds.csv beside the bundle"
    total = int(names.nunique())
    hidden = [n for n in dict.fromkeys(names) if is_pseudonym(n) and n not in originals]
    if not shared and not scans and hidden and trained.get("pseudonyms_hash") is None:
        return check | {
            "ok": None,
            "found": f"it could not be checked whether patients were trained on: {len(hidden)} of "
            f"{total} have pseudonyms, and the bundle knows ids or other pseudonyms",
        }
    if not shared and not scans:
        return check | {
            "ok": True,
            "found": f"none of the {total} patient ids is one of the training ({basis})",
        }
    found = []
    if shared:
        found.append(f"{len(shared)} of {total} patients (first {shared[0]!r})")
    if scans:
        found.append(f"{len(scans)} of {table['scan_id'].nunique()} scans (first {scans[0]!r})")
    what = f"{' and '.join(found)} were in the training of {bundle.path} ({basis})"
    if not config.folds.allow_shared_patients:
        raise DataError(
            f"{what}; figures on them say nothing about new patients. Leave them out; or, if they "
            f"are others with the same ids, set folds.allow_shared_patients=true, and the report "
            f"says so in red"
        )
    return check | {"ok": False, "count": len(shared) + len(scans), "found": what}


def images_check(
    findings: pd.DataFrame, store: PatchStore, config: Config, bundle: Bundle
) -> dict[str, Any]:
    """Whether a patch here is one of the training, in the form of an audit's check.

    Ids change when data are passed on, images do not. ``ok`` is None where the patches of the
    training are not beside the bundle.

    Raises:
        DataError: some are, and it is not allowed.
    """
    check: dict[str, Any] = {"check": "identical patches", "leak": True, "count": 0}
    try:
        run = Run.open(bundle.path)
        name = run.manifest()["stages"]["train"]["store"]
        index = PatchStore(run.config.store_path / name).index
        # A store holds findings without a label too, which nobody trained on.
        trained = set(read_csv(bundle.path / "folds.csv", ids=["finding_id"])["finding_id"])
        known = set(index.loc[index["finding_id"].isin(trained), "content_hash"])
    except (NoduleNetError, KeyError):
        return check | {
            "ok": None,
            "found": "whether patches are identical to those of the training could not be "
            "checked: its patch store is not there",
        }
    hashes = store.index["content_hash"].to_numpy()[findings["position"].to_numpy()]
    # Patches of nothing but air are alike everywhere.
    same = [
        int(row)
        for row in np.flatnonzero(np.isin(hashes, list(known)))
        if _has_content(store, int(findings["position"].iloc[row]))
    ]
    if not same:
        return check | {"ok": True, "found": "no patch is identical to one of the training"}
    first = findings["finding_id"].iloc[same[0]]
    what = (
        f"{len(same)} of {len(findings)} patches (first finding {first!r}) are identical to "
        f"patches of the training of {bundle.path}"
    )
    if not config.folds.allow_shared_patients:
        raise DataError(
            f"{what}, so their patients were in it under other ids; leave them out, or set "
            f"folds.allow_shared_patients=true, and the report says so in red"
        )
    return check | {"ok": False, "count": len(same), "found": what}


def _has_content(store: PatchStore, position: int) -> bool:
    """Whether a patch shows more than noise, by the measure of the leakage audit."""
    spread = float(store.values.from_stored(store.patches([position])).std())
    return spread >= CONTENT_SD_HU if store.values.kind == "hu" else spread > 0


def _why_unknown(config: Config, bundle: Bundle) -> str:
    if not has_patient_ids(config.source):
        return "these data have no patient ids"
    if "patients_hash" not in bundle.training:
        if not (bundle.path / "folds.csv").is_file():
            return "the bundle is of an older version and holds nobody's ids"
        columns = bundle.training.get("columns") or {"patient_id": "patient_id"}
        rows = bundle.training.get("source") == "medmnist" or columns.get("patient_id") is None
        return "the training data have no patient ids" if rows else ""
    if bundle.training["patients_hash"] is None:
        return "the training data have no patient ids"
    return ""
