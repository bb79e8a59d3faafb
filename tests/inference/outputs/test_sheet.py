"""The finding sheet says everything, in HTML and PDF the same, and nothing that it must not."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nodulenet.ct import CTVolume
from nodulenet.errors import DataError, PointOutsideScanError, UsageError
from nodulenet.inference.answers import INDETERMINATE, Answers, OperatingPoint
from nodulenet.inference.outputs import Saliency, Sources, chosen_formats, write_outputs
from nodulenet.inference.outputs.sheet_content import SheetContent, sheet_content
from nodulenet.inference.outputs.sheet_figures import sheet_figures
from nodulenet.inference.outputs.sheet_html import sheet_html
from nodulenet.inference.outputs.sheet_page import HEIGHT_MM, WIDTH_MM, text_mm, wrapped
from nodulenet.inference.outputs.sheet_views import PIXELS, SIDE_MM, views_of
from nodulenet.plots.render import figure_pixels, save_pdf

Make = Callable[..., Answers]


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.parts: list[str] = []
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._style = tag == "style"
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "srcset", "action"):
                self.addresses.append(str(value))
            if name == "id":
                self.ids.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.parts.append(data)

    @property
    def text(self) -> str:
        return spaced("".join(self.parts))


def spaced(text: str) -> str:
    return " ".join(text.split())


def figure_text(figures: list[Figure]) -> str:
    """Letters of all pages without spaces: lines are broken at other places than in the page."""
    return "".join("".join(text.get_text().split()) for figure in figures for text in figure.texts)


def every_text(content: SheetContent) -> list[str]:
    texts = [content.title, content.badge, *content.footer, *content.warnings, *content.failures]
    texts += [part for fact in content.facts for part in fact]
    texts += [content.legend] if content.legend else []
    for row in content.overview.rows if content.overview else ():
        texts += row
    for finding in content.findings:
        texts += [finding.heading, finding.probability, finding.meaning]
        texts += [part for fact in finding.facts for part in fact]
        texts += [finding.warning]
    return [text for text in texts if text]


@pytest.fixture(scope="module")
def full(make_answers: Make, operating_point: OperatingPoint) -> Answers:
    return make_answers(
        4,
        {
            "finding_id": ["Knötchen $1$", "結節", "<script>alert(1)</script>", "x" * 200],
            "diameter_mm": [8.2, np.nan, 45.0, 3.0],
            "call": ["nodule", "not a nodule", None, "nodule"],
            "conformal": ["nodule", INDETERMINATE, None, "not a nodule"],
            "warnings": ["", "98% of the middle of the patch is air; check the point", "", "far"],
        },
        failures=[{"what": "finding z", "error": "lies outside\nthe <scan>"}],
        bundle={"name": "b&b", "hash": "ab" * 32, "nodulenet": "0.1.0", "card": "Trained on 9."},
        operating_point=operating_point,
        miss_rate=0.1,
        warnings=("slices are 5 mm apart", "the kernel is unknown"),
    )


def test_html_and_pdf_say_everything_and_the_same(full: Answers, scan: CTVolume) -> None:
    content = sheet_content(full, scan)
    page = Page(sheet_html(content))
    figures = sheet_figures(content)
    drawn = figure_text(figures)
    for text in every_text(content):
        assert spaced(text) in page.text, text
        # A long text may go on over a page, whose head and foot then stand in between.
        assert "".join(text.split()) in drawn, text
    said = page.text
    for part in (
        "81.3 %",
        "probability that the position is an annotated nodule",
        "65.1 % to 89.5 % (range over the fold models, not an interval)",
        "at the operating point “sensitivity 0.95” (threshold 43.2 %; out of fold: sensitivity "
        "94.1 %, specificity 71.2 %)",
        "neither “not a nodule” nor “nodule” is ruled out (made to miss at most 10 % of either",
        "8.2 mm",
        "not known",
        "98% of the middle of the patch is air; check the point",
        "slices are 5 mm apart",
        "Trained on 9.",
        "finding z: lies outside the <scan>",
        "lung window, -1000 to 400 HU",
        "Research use only: not a medical device",
    ):
        assert part in said, part
    assert all(figure.texts[1].get_text() == "RESEARCH USE ONLY" for figure in figures)
    # Letters as they are, not as mathematics.
    assert not any(text.get_parse_math() for figure in figures for text in figure.texts)


def test_html_is_one_file_without_scripts_or_addresses(full: Answers, scan: CTVolume) -> None:
    text = sheet_html(sheet_content(full, scan))
    page = Page(text)
    assert "script" not in page.tags
    assert page.ids == [f"finding-{i}" for i in (1, 2, 3, 4)]
    for address in page.addresses:
        assert address.startswith(("data:", "#finding-")), address[:60]
    without_pictures = re.sub(r"data:image/png;base64,[^\"]*", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_pictures)
    assert "default-src 'none'" in text
    # Three planes a finding.
    assert page.tags.count("svg") == page.tags.count("image") == 3 * 4


def test_the_sheet_tells_no_name_and_no_path(make_answers: Make, scan: CTVolume) -> None:
    planted = CTVolume(
        scan._voxels,
        scan.spacing_mm,
        scan.origin_lps_mm,
        scan.direction,
        series_uid="DOE^JANE",
        path=Path("/scans/DOE^JANE.nii.gz"),
    )
    content = sheet_content(make_answers(), planted)
    assert "DOE" not in sheet_html(content) + figure_text(sheet_figures(content))
    assert "1.2.3.4" in sheet_html(content)  # what the table calls the scan


def test_thirty_findings_go_on_over_further_pages(
    make_answers: Make, scan: CTVolume, tmp_path: Path
) -> None:
    content = sheet_content(make_answers(30, {"warnings": "a long warning " * 30}), scan)
    figures = sheet_figures(content)
    drawn = figure_text(figures)
    for number in range(1, 31):
        assert f"Finding{number}of30:" in drawn
    assert f"page1of{len(figures)}" in drawn
    assert 15 < len(figures) <= 31
    figures = figures[:3]
    file = save_pdf(figures, tmp_path / "a.pdf", title="t")
    assert len(re.findall(rb"/Type /Page\b", file.read_bytes())) == 3
    for figure in figures:
        # Nothing leaves the page or runs into its foot.
        foot = next(t for t in figure.texts if t.get_text().startswith("Research use only"))
        lowest = foot.get_position()[1]
        for text in figure.texts:
            x, y = text.get_position()
            assert 0.05 < x < 0.95
            assert 0.03 < y < 0.97
        for ax in figure.axes:
            box = ax.get_position()
            assert box.y0 > lowest
            # True proportions on paper.
            assert box.width * WIDTH_MM == pytest.approx(box.height * HEIGHT_MM)


def test_one_finding_is_one_page(full: Answers, make_answers: Make, scan: CTVolume) -> None:
    content = sheet_content(make_answers(1, warnings=full.warnings), scan)
    assert content.overview is None
    (figure,) = sheet_figures(content)
    assert len(figure.axes) == 3
    assert figure_pixels(figure, dpi=30).shape == (350, 248, 3)


def test_files_are_the_same_bytes_every_time_and_tell_no_date(
    full: Answers, scan: CTVolume, tmp_path: Path
) -> None:
    pictures = {"Knötchen $1$": Saliency(np.ones((4, 4, 4)), np.eye(4))}
    for name in ("a", "b"):
        sources = Sources(volume=scan, saliency=pictures)
        write_outputs(full, tmp_path / name, chosen_formats("sheet"), sources)
    for name in ("finding-sheet.html", "finding-sheet.pdf"):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("a", "b"))
        assert first == second, name
        assert b"CreationDate" not in first
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "finding-sheet.html",
        "finding-sheet.pdf",
    ]


def test_the_planes_show_the_finding_in_the_middle_and_as_radiologists_look(
    scan: CTVolume,
) -> None:
    point = np.array([[35.0, 40.0, -75.0]])
    ((axial, coronal, sagittal),) = views_of(scan, point, [None], [None])
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    for view in (axial, coronal, sagittal):
        assert view.side_mm == SIDE_MM
        bright = np.argwhere(view.grey > 150)
        assert bright.mean(axis=0) == pytest.approx([(PIXELS - 1) / 2] * 2, abs=1.0)
        # A ball of 8 mm radius, 0.3 mm a pixel.
        if view is axial:
            radius = np.sqrt(len(bright) / np.pi) * SIDE_MM / PIXELS
            assert radius == pytest.approx(8.0, abs=0.8)
    # 10 mm to the left of the point, 12 mm towards the feet of it, the ball lies right and up.
    ((axial, coronal, _),) = views_of(scan, point + np.array([10, 0, -12]), [None], [None])
    assert np.argwhere(axial.grey > 150).size == 0
    rows, columns = np.argwhere(coronal.grey > 150).mean(axis=0)
    assert (PIXELS / 2 - rows) * 0.3 == pytest.approx(12, abs=1)
    assert (PIXELS / 2 - columns) * 0.3 == pytest.approx(10, abs=1)


def test_a_large_nodule_gets_a_wider_picture_and_a_free_middle(scan: CTVolume) -> None:
    points = np.array([[35.0, 40.0, -75.0]] * 3)
    wide = views_of(scan, points, [30.0, 8.0, 200.0], [None] * 3)
    assert [views[0].side_mm for views in wide] == [80.0, 60.0, 150.0]
    assert [views[0].free_mm for views in wide] == [22.5, 8.0, pytest.approx(67.5)]


def test_saliency_lies_where_its_affine_says(scan: CTVolume) -> None:
    point = np.array([[35.0, 40.0, -75.0]])
    values = np.zeros((8, 8, 8))
    values[6, 4, 1] = -4.0  # against, and the largest value: -1 in the picture
    values[4, 4, 4] = 2.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = point[0] - 8.0  # voxel (4, 4, 4) on the point
    ((axial, coronal, sagittal),) = views_of(scan, point, [None], [Saliency(values, affine)])
    assert axial.saliency is not None
    assert coronal.saliency is not None
    assert sagittal.saliency is not None
    assert axial.saliency.max() == pytest.approx(0.5, abs=0.1)
    row, column = np.argwhere(coronal.saliency < -0.85).mean(axis=0)
    # 4 mm towards the head, 6 mm to the patient's right.
    assert (PIXELS / 2 - row) * 0.3 == pytest.approx(4, abs=0.4)
    assert (PIXELS / 2 - column) * 0.3 == pytest.approx(6, abs=0.4)
    assert coronal.saliency[0, 0] == 0.0  # outside the patch
    # A map of one slice is shown in that plane alone.
    flat = Saliency(np.ones((8, 8)), affine.copy())
    flat.affine_lps[2, 3] = point[0][2]
    ((axial, coronal, _),) = views_of(scan, point, [None], [flat])
    assert axial.saliency is not None
    assert axial.saliency.max() == 1.0
    assert coronal.saliency is None
    for wrong in (np.full((2, 2, 2), np.nan), np.zeros(3)):
        with pytest.raises(DataError, match="saliency"):
            views_of(scan, point, [None], [Saliency(wrong, affine)])
    with pytest.raises(DataError, match="invertible"):
        views_of(scan, point, [None], [Saliency(values, np.zeros((4, 4)))])


def test_saliency_is_in_both_and_its_colours_are_explained(
    make_answers: Make, scan: CTVolume
) -> None:
    answers = make_answers(2)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = np.array([35.0, 40.0, -75.0]) - 7.0
    content = sheet_content(answers, scan, {"point-1": (np.ones((8, 8, 8)), affine)})  # type: ignore[dict-item]
    assert "Colours (1 finding)" in content.legend
    assert sheet_html(content).count('class="saliency"') == 3
    (figure,) = sheet_figures(content)
    overlays = [i for ax in figure.axes for i in ax.images if i.get_gid() == "saliency"]
    assert len(overlays) == 3
    middle = np.asarray(overlays[0].get_array())[PIXELS // 2, PIXELS // 2]
    assert middle[:3] == pytest.approx(to_rgb("#e69f00"))


def test_answers_that_no_sheet_can_show_are_refused(make_answers: Make, scan: CTVolume) -> None:
    patches = make_answers()
    with pytest.raises(UsageError, match="no points"):
        sheet_content(Answers(**{**vars(patches), "table": patches.table[["probability"]]}), scan)
    with pytest.raises(UsageError, match="2 scans"):
        sheet_content(make_answers(2, {"scan_id": ["a", "b"]}), scan)
    with pytest.raises(PointOutsideScanError):
        sheet_content(make_answers(1, {"x_lps_mm": 900.0}), scan)


def test_lines_are_no_wider_than_their_column() -> None:
    text = "A nodule of 12.5 mm and " + "x" * 300 + " 43.2 %"
    for bold in (False, True):
        lines = wrapped(text, 40.0, 8.0, bold=bold)
        assert all(text_mm(line, 8.0, bold=bold) <= 40.0 for line in lines)
        assert "".join("".join(lines).split()) == "".join(text.split())
    assert wrapped("", 40.0, 8.0) == []
    narrow = wrapped("about 43.2 %", text_mm("about 43.2", 8.0) + 0.1, 8.0)
    assert [spaced(line) for line in narrow] == ["about", "43.2 %"]
