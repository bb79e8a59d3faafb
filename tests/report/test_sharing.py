"""Reports to pass on: whatever ids, names and folders are called, none of them is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import EvaluateConfig
from nodulenet.privacy import pseudonym, user_key
from nodulenet.report.sharing import Sharing
from nodulenet.report.table import report_on_table

IDS = ["Wumpus", "DOE, JANE", "case (1)", "0042", "7", "DOE-1234567", "1.2.840.113619.2.55.3"]


@pytest.fixture
def sharing() -> Sharing:
    table = pd.DataFrame({"patient_id": IDS, "finding_id": [f"{i}:row-3" for i in IDS]})
    return Sharing([table], [Path("hospital/DOE_JANE"), Path("data"), Path("/x/own")])


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(
    "text",
    [
        "3 patients were seen before; first {}",
        "finding {}:row-3 of patient {} and patient '{}'",
        "the label of patient {}: 0 and 1",
    ],
)
def test_ids_become_pseudonyms_in_sentences(sharing: Sharing, name: str, text: str) -> None:
    told = sharing.text(text.format(name, name, name))
    assert f" {name}" not in told
    assert (
        pseudonym(name, user_key()) in told or pseudonym(f"{name}:row-3", user_key(), "f") in told
    )


@pytest.mark.parametrize(
    "text",
    [
        "the data were split; 7 of 42 folds; AUC 0.7 (0.6 to 0.8)",
        "12 findings; metadata; 1.2 to 1.3 mm; a/b",
        "Wumpuses are no patients",
    ],
)
def test_what_is_no_id_stays(sharing: Sharing, text: str) -> None:
    assert sharing.text(text) == text


def test_uids_and_paths_go_wherever_they_stand(sharing: Sharing) -> None:
    uid = "1.3.6.1.4.1.14519.5.2.1.6279"
    for text in (uid, f"{uid}.mhd", f"series_{uid}", f"[{uid},", f"{uid}_3"):
        assert uid not in sharing.text(text.replace("series_", "series ")), text
    for text in (
        "/DOE_JANE",
        "in C:\\DOE\\x",
        "file:/home/doe/ct",
        "hospital/DOE_JANE/ct",
        "~/doe",
    ):
        assert "doe" not in sharing.text(text).lower(), text


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("scan DOE_JANE (3 findings)", "/hospital/DOE JANE/ct: 3 slices are missing"),
        ("scan DOE_JANE (1 finding)", "hospital/DOE_JANE/ct.mhd: its voxel file DOE_JANE.raw"),
        ("finding DOE_JANE", "no diameter of DOE_JANE"),
        ("file DOE_JANE.csv", "points/DOE_JANE.csv: line 2"),
    ],
)
def test_failures_say_what_failed_without_its_name(sharing: Sharing, what: str, error: str) -> None:
    told = sharing.failure({"what": what, "error": error, "cause": error})
    assert "DOE" not in json.dumps(told)
    assert told["what"].split()[0] == what.split()[0]
    assert told["error"]


@pytest.mark.parametrize(
    "folder",
    [
        "out",
        pytest.param("auc", marks=pytest.mark.long),
        pytest.param("held", marks=pytest.mark.long),
    ],
)
def test_folders_called_like_words_of_the_report_do_not_matter(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    pd.DataFrame(
        {
            "patient_id": [f"DOE_{i}" for i in range(60)],
            "label": labels,
            "probability": np.clip(labels * 0.3 + rng.uniform(0, 0.7, 60), 0, 1),
        }
    ).to_csv("t.csv", index=False)
    settings = EvaluateConfig(bootstraps=100)
    shared = report_on_table(Path("t.csv"), Path(folder), settings, share=True)
    plain = report_on_table(Path("t.csv"), Path("plain"), settings)
    assert shared.metrics["models"] == plain.metrics["models"]
    for file in Path(folder).rglob("*.*"):
        if file.suffix in (".html", ".json", ".csv", ".svg"):
            assert "DOE_" not in file.read_text(encoding="utf-8"), file
