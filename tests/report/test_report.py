"""The report is read back as a browser would: structure, safety, and what it must say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nodulenet.config.schema import EvaluateConfig
from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation import read_predictions, summarize
from nodulenet.report import GalleryItem, ReportContent, select_gallery, write_report

HOSTILE = '<script>alert("x")</script> & "quotes" --> ]]>'
SETTINGS = EvaluateConfig(bootstraps=100)
VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


MakeContent = Callable[..., ReportContent]
MakePredictions = Callable[..., pd.DataFrame]


class Page(HTMLParser):
    """Collects the elements of a page and checks that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_content: MakeContent) -> Path:
    path = tmp_path_factory.mktemp("report")
    write_report(path / "report.html", make_content())
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_nothing_is_requested_from_anywhere(folder: Path, page: Page) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    # One script, which the page's own policy lets run and no other.
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    policy = str(page.all("meta")[1]["content"])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert page.all("iframe") == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert "http://" not in text
    assert "https://" not in text


def test_inner_links_and_references_lead_somewhere_and_ids_are_unique(
    folder: Path, page: Page
) -> None:
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    text = (folder / "report.html").read_text(encoding="utf-8")
    for target in re.findall(r'(?:href="|url\()#([^")]+)', text):
        assert target in ids, target
    for _, attributes in page.elements:
        if attributes.get("aria-labelledby"):
            assert attributes["aria-labelledby"] in ids


def test_headings_are_in_order(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_speaks(page: Page) -> None:
    figures = page.all("svg")
    # AUC, 2 x 2 learning, ROC, precision-recall, calibration, 2 recalibrated, 2 histograms, FROC,
    # differences, one column of subgroups
    assert len(figures) == 15
    for attributes in figures:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 15
        assert attributes["viewbox"]
    pictures = page.all("img")
    assert len(pictures) == 4
    assert all("probability" in (p["alt"] or "") for p in pictures)
    for attributes in page.all("div"):
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[2]["content"] == "width=device-width, initial-scale=1"


def test_the_page_follows_dark_mode_paper_and_phones(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    for query in ("prefers-color-scheme: dark", "@media print", "max-width: 34rem"):
        assert query in text
    # Colours of the figures follow the page: none is left fixed.
    body = text[text.index("<main>") :]
    assert "#1f2328" not in body
    assert "#0072b2" not in body
    assert "var(--series-1)" in body


def test_it_says_what_it_must(page: Page, make_content: MakeContent) -> None:
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    made = make_content()
    result = made.metrics["models"]["v2"]
    value = result["pooled"]["auc"]
    low, high = value["patient_bootstrap"]["low"], value["patient_bootstrap"]["high"]
    size = made.metrics["size_only"]["auc"]["value"]
    for words in (
        "Research use only",
        "probability that the position is an annotated nodule",
        "says nothing about cancer",
        f"{value['value']:.3f} AUC",
        f"95 % interval {low:.3f} to {high:.3f}",
        f"Size alone (diameter_mm) {size:.3f} AUC",
        f"{result['over_folds']['auc_mean']:.3f} ± {result['over_folds']['auc_sd']:.3f}",
        "not an interval",
        "No patient is in more than one fold (60 patients checked).",
        "nodulenet train configs/demo.yaml",
        "name: demo",
        "keras 3.15.1",
        "one slice is missing",
        "unreadable",
        "Synthetic scans.",
        "diameter: 7.2 mm",
        f"{made.metrics['models']['v2']['froc']['cpm']:.3f}",
    ):
        assert words in text, words
    # The summary comes before everything else.
    assert text.index("Summary") < text.index("Data and folds") < text.index("Limitations")
    assert "These results leak" not in text


def test_figures_lie_beside_the_page_and_nothing_temporary(folder: Path) -> None:
    names = {p.name for p in (folder / "figures").iterdir()}
    for name in ("auc", "roc", "calibration", "froc", "learning-v2", "gallery-mistakes"):
        assert {f"{name}.svg", f"{name}.png"} <= names
        assert (f"{name}.csv" in names) != name.startswith("gallery")  # pictures have no numbers
    assert all(p.suffix in (".svg", ".png", ".csv") for p in (folder / "figures").iterdir())
    assert {p.name for p in folder.iterdir()} == {"report.html", "figures"}
    assert (folder / "report.html").stat().st_size < 1_500_000


def test_the_same_content_is_the_same_page(
    folder: Path, tmp_path: Path, make_content: MakeContent
) -> None:
    again = write_report(tmp_path / "report.html", make_content())
    assert again.read_bytes() == (folder / "report.html").read_bytes()


def test_pictures_are_the_patches_in_the_lung_window(page: Page) -> None:
    source = page.all("img")[0]["src"] or ""
    image = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))
    patch = np.random.default_rng(0).normal(-700, 200, (32, 40))
    expected = np.clip((patch + 1000) / 1400, 0, 1) * 255
    np.testing.assert_allclose(np.asarray(image), expected, atol=0.51)
    # 40 pixels of 0.5 mm by 32 of 1 mm; 10 mm are half of the width.
    assert page.all("img")[0]["style"] == "aspect-ratio: 20 / 32"
    bars = [d["style"] for d in page.all("div") if d.get("class") == "bar"]
    assert bars[0] == "width: 50.00%"


def test_hostile_text_stays_text(tmp_path: Path, make_content: MakeContent) -> None:
    made = make_content(models=(HOSTILE,))
    item = made.gallery[0]
    hostile = dataclasses.replace(
        made,
        title=HOSTILE,
        command=HOSTILE,
        config_yaml=HOSTILE,
        versions={HOSTILE: HOSTILE},
        data_facts={HOSTILE: HOSTILE},
        warnings=[HOSTILE],
        failures=[{HOSTILE: HOSTILE}],
        limitations=[HOSTILE],
        audit={"ok": False, "lines": [HOSTILE]},
        gallery=[dataclasses.replace(item, caption={**item.caption, HOSTILE: HOSTILE})],
        created=HOSTILE,
    )
    page = Page(write_report(tmp_path / "r.html", hostile).read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    ids = [a["id"] for _, a in page.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[\w.:-]+", i or "") for i in ids)
    assert page.text.count("alert") > 15
    for path in (tmp_path / "figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(svg|png|csv)", path.name)


def test_models_whose_names_differ_in_signs_only_keep_their_figures(
    tmp_path: Path, make_content: MakeContent
) -> None:
    write_report(tmp_path / "r.html", make_content(models=("v2", "V2")))
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert {"learning-v2.svg", "learning-v2-2.svg", "probabilities-v2-2.png"} <= names


def test_crossing_patients_are_a_leak_unless_an_audit_saw_them_left_out(
    tmp_path: Path, make_content: MakeContent
) -> None:
    made = make_content()
    table = made.predictions.assign(fold=np.arange(len(made.predictions)) % 3)
    crossing = "60 patients have findings in more than one fold: p0, p1"
    for audit, red in ((None, True), ({"ok": True, "lines": ["left out"]}, False)):
        shown = dataclasses.replace(made, predictions=table, audit=audit)
        page = Page(write_report(tmp_path / "r.html", shown).read_text(encoding="utf-8"))
        banner = [d for d in page.all("div") if d.get("class") == "banner"]
        assert banner == ([{"class": "banner", "role": "alert"}] if red else [])
        assert crossing in page.text


def test_a_table_without_patients_is_not_called_checked(
    tmp_path: Path, make_predictions: MakePredictions
) -> None:
    table = read_predictions(make_predictions()[["label", "probability"]])
    made = ReportContent(
        title="t",
        label_meaning="outcome",
        metrics=summarize(table, SETTINGS),
        predictions=table,
    )
    text = Page(write_report(tmp_path / "r.html", made).read_text(encoding="utf-8")).text
    assert "Not checked: the table names no patients" in text
    assert "No patient is in more than one fold" not in text
    assert "there is no column 'diameter_mm'" in text


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        (120, {"label": 1}),
        (120, {"probability": 0.25}),
        (1, {}),
        (120, {"fold": 0, "patient_id": "one"}),
    ],
    ids=["one class", "equal", "one row", "one patient"],
)
def test_degenerate_results_still_make_a_report(
    tmp_path: Path, rows: int, changes: dict[str, object], make_predictions: MakePredictions
) -> None:
    table = read_predictions(make_predictions(n=rows).assign(**changes))
    made = ReportContent(
        title="t",
        label_meaning="candidate",
        metrics=summarize(table, SETTINGS),
        predictions=table,
    )
    page = Page(write_report(tmp_path / "r.html", made).read_text(encoding="utf-8"))
    assert "nan" not in page.text.lower().replace("nanometre", "").split()
    assert "None" not in page.text.split()


def test_a_failed_report_leaves_the_old_one(tmp_path: Path, make_content: MakeContent) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    made = make_content()
    inner = dataclasses.replace(
        made, predictions=made.predictions[made.predictions["split"] == "inner"]
    )
    with pytest.raises(PredictionsError, match="outer"):
        write_report(target, inner)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_wrong_content_is_refused(make_content: MakeContent) -> None:
    with pytest.raises(UsageError, match="label_meaning 'cancer'"):
        make_content(label_meaning="cancer")
    caption = {"label": 1, "probability": 0.5}
    with pytest.raises(UsageError, match=r"\(4, 4, 4\)"):
        GalleryItem(
            image_hu=np.zeros((4, 4, 4)), spacing_mm=(1, 1), kind="mistake", caption=caption
        )
    with pytest.raises(UsageError, match="probability"):
        GalleryItem(
            image_hu=np.zeros((4, 4)), spacing_mm=(1, 1), kind="mistake", caption={"label": 1}
        )


def test_the_gallery_takes_confident_mistakes_and_typical_successes() -> None:
    table = read_predictions(
        pd.DataFrame(
            {
                "finding_id": list("abcdefgh"),
                "patient_id": ["1", "2", "3", "3", "5", "6", "7", "8"],
                "label": [1, 1, 0, 0, 1, 1, 1, 0],
                "probability": [0.01, 0.4, 0.99, 0.98, 0.6, 0.7, 0.95, 0.2],
            }
        )
    )
    chosen = select_gallery(table, "model", mistakes=3, successes=2)
    assert chosen["kind"].tolist() == ["mistake"] * 3 + ["success"] * 2
    # The two worst of each class first; of patient 3 only one before others had their turn.
    assert set(chosen["finding_id"][:2]) == {"a", "c"}
    assert chosen["finding_id"].iloc[2] == "b"
    # The successes nearest to their class's median: 0.7 of .6 .7 .95, and 0.2.
    assert set(chosen["finding_id"][3:]) == {"f", "h"}
    with pytest.raises(PredictionsError, match="'other'"):
        select_gallery(table, "other")
