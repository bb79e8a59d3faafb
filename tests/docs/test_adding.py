"""The examples of docs/adding.md, as they stand there."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from nodulenet.ct import extract_patch
from nodulenet.errors import FindingsError, PredictionsError, ScanError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs import formats


@pytest.fixture(scope="module")
def block(repository: Path) -> Callable[[str], str]:
    """``block("def name")``: the Python block in which that stands."""
    text = (repository / "docs" / "adding.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)

    def find(words: str) -> str:
        (found,) = (code for code in blocks if words in code)
        return str(found)

    return find


def module(code: str, name: str) -> Any:
    made = types.ModuleType(name)
    exec(compile(code, name, "exec"), made.__dict__)
    return made


def test_a_format_of_answers(
    block: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "nodulenet.inference.outputs.plain_lines"
    monkeypatch.setitem(sys.modules, name, module(block("def write_lines"), name))
    entry = eval(block("OutputFormat("), {"OutputFormat": formats.OutputFormat})
    monkeypatch.setitem(formats.OUTPUTS, entry.name, entry)
    table = pd.DataFrame({"finding_id": ["a", "b"], "probability": [0.25, 1 / 3]})
    answers = Answers(table, [], "a test", 0.5, "none")
    written = formats.write_outputs(answers, tmp_path, formats.chosen_formats("csv,lines"))
    assert [file.name for file in written.files] == ["answers.csv", *entry.files]
    assert written.files[1].read_text() == "a 0.2500\nb 0.3333\n"


def test_a_format_of_scans(block: Callable[[str], str], tmp_path: Path) -> None:
    open_npz = module(block("def open_npz"), "npz").open_npz
    hu = np.full((8, 9, 10), -800, dtype=np.int16)
    hu[3, 4, 5] = 100
    parts = {"hu": hu, "spacing_mm": (0.5, 0.6, 2.0), "origin_lps_mm": (-10.0, 20.0, 30.0)}
    np.savez(tmp_path / "scan.npz", **parts)
    volume = open_npz(tmp_path / "scan.npz")
    point_lps_mm = (-10.0 + 5 * 0.5, 20.0 + 4 * 0.6, 30.0 + 3 * 2.0)
    assert extract_patch(volume, point_lps_mm, (1, 1, 1), (1, 1, 1)) == 100
    assert volume.series_uid == "scan"
    np.savez(tmp_path / "less.npz", hu=hu)
    with pytest.raises(ScanError, match=r"less\.npz: holds no 'spacing_mm'"):
        open_npz(tmp_path / "less.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ScanError, match="is no NumPy archive"):
        open_npz(tmp_path / "text.npz")


def test_a_metric(block: Callable[[str], str]) -> None:
    balanced_accuracy = module(block("def balanced_accuracy"), "balanced").balanced_accuracy
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 200)
    probabilities = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    patients = random.integers(0, 60, 200)
    value, interval = balanced_accuracy(labels, probabilities, patients, threshold=0.5)
    assert value == pytest.approx(balanced_accuracy_score(labels, probabilities >= 0.5))
    assert interval.low < value < interval.high
    with pytest.raises(PredictionsError):
        balanced_accuracy(np.ones(3), [0.1, 0.2, 0.3], [1, 2, 3], threshold=0.5)


def test_a_source_of_findings(block: Callable[[str], str], tmp_path: Path) -> None:
    read_registry = module(block("def read_registry"), "registry").read_registry
    (tmp_path / "c1.nii.gz").touch()
    table = tmp_path / "registry.csv"
    table.write_text("case,patient,x,y,z,cancer\nc1,p1,1,2,3,1\nc2,p1,-4,5.5,6,0\n")
    findings = read_registry(table, tmp_path)
    assert list(findings.table["label"]) == [1, 0]
    assert list(findings.table["x_lps_mm"]) == [1.0, -4.0]
    assert findings.scans == {"c1": tmp_path / "c1.nii.gz"}
    table.write_text("case,patient,x,y,z,cancer\nc1,p1,1,2,3,2\n")
    with pytest.raises(FindingsError, match=r"registry\.csv: line 2, column 'cancer'"):
        read_registry(table, tmp_path)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("nodulenet/inference/outputs/formats.py", "OUTPUTS"),
        ("nodulenet/ct/open.py", "def open_path"),
        ("nodulenet/ct/open.py", "FORMATS"),
        ("nodulenet/findings/points.py", "SCAN_ENDINGS"),
        ("nodulenet/models/registry.py", "class ResNetEntry"),
        ("nodulenet/config/sources.py", "Source = Annotated"),
        ("nodulenet/patches/source.py", "def load_source"),
        ("nodulenet/evaluation/summary.py", "def summarize"),
    ],
)
def test_the_places_that_it_names_are_there(repository: Path, file: str, words: str) -> None:
    assert words in (repository / file).read_text(encoding="utf-8")
