from __future__ import annotations

import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.errors import FindingsError
from nodulenet.findings.lidc_xml import RATINGS, read_reader_xml

lidc = runpy.run_path(str(Path(__file__).with_name("lidc_writer.py")))

SQUARE = lidc["rectangle"](30, 40, 6, 6)


def write(folder: Path, text: str | bytes, name: str = "001.xml") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def one_nodule() -> str:
    return lidc["message"]([lidc["box_nodule"]("n 1", 4, 30, 40, [-90.0])])


def test_marks_are_told_apart(tmp_path: Path) -> None:
    drawn = [
        lidc["roi"]("-90.000000 ", [(30, 40), (36, 40), (36, 47)]),
        lidc["roi"](-90, [(32, 42), (33, 42), (33, 43)], "FALSE"),
        lidc["roi"](-87.5, [(1, 2)]),
    ]
    first = (
        lidc["nodule"]("big", drawn, lidc["ratings"](5, texture=2))
        + lidc["nodule"]("small", [lidc["roi"](-80, [(10, 20)])], "")
        + lidc["nodule"]("blank", [lidc["roi"](-80, [(11, 21)])], "<characteristics/>")
    )
    third = (
        lidc["nodule"]("zero", [lidc["roi"](-80, SQUARE)], lidc["ratings"](0))
        + lidc["nodule"]("empty", [lidc["roi"](-80, SQUARE)], lidc["ratings"](3, margin=""))
        + lidc["nodule"]("dot", [lidc["roi"](-80, [(12, 22)])], lidc["ratings"](3))
        + lidc["nodule"]("nowhere", [], "")
        + lidc["non_nodule"]("other", 7, 8, -70)
    )
    reading = read_reader_xml(write(tmp_path, lidc["message"]([first, "", third])))
    assert reading is not None
    assert (reading.series_uid, reading.study_uid) == (lidc["SERIES"], "1.9")
    assert reading.sessions == 3
    (big,) = reading.nodules
    assert (big.nodule_id, big.session, big.stray_points) == ("big", 0, 1)
    assert big.ratings == {**dict.fromkeys(RATINGS, 1), "malignancy": 5, "texture": 2}
    assert [(c.z_mm, c.inclusion) for c in big.contours] == [(-90.0, True), (-90.0, False)]
    # x is the column and comes second.
    np.testing.assert_array_equal(big.contours[0].ij, [[40, 30], [40, 36], [47, 36]])
    small = [(m.mark_id, m.session, m.i, m.j, m.z_mm, m.points, m.reason) for m in reading.small]
    assert small == [
        ("small", 0, 20, 10, -80, 1, "no characteristics"),
        ("blank", 0, 21, 11, -80, 1, "no characteristics"),
        ("zero", 2, 43, 33, -80, 4, "not rated"),
        ("empty", 2, 43, 33, -80, 4, "not rated"),
        ("dot", 2, 22, 12, -80, 1, "single points only"),
    ]
    assert [(m.mark_id, m.i, m.j, m.z_mm) for m in reading.non_nodules] == [("other", 8, 7, -70)]
    assert reading.placeless == 1


def test_prefixes_other_encodings_and_unknown_elements(tmp_path: Path) -> None:
    plain = read_reader_xml(write(tmp_path, one_nodule()))
    text = one_nodule().replace("<noduleID>", "<extra><noduleID>no</noduleID></extra><noduleID>")
    assert read_reader_xml(write(tmp_path, text)).nodules[0].nodule_id == "n 1"  # type: ignore[union-attr]
    prefixed = one_nodule().replace("</", "</l:").replace("<", "<l:").replace("<l:/l:", "</l:")
    prefixed = prefixed.replace("<l:?xml", "<?xml").replace("xmlns=", "xmlns:l=")
    for other in (prefixed, one_nodule().replace("UTF-8", "UTF-16").encode("utf-16")):
        reading = read_reader_xml(write(tmp_path, other))
        assert reading is not None
        assert plain is not None
        assert reading.nodules[0].ratings == plain.nodules[0].ratings
        np.testing.assert_array_equal(
            reading.nodules[0].contours[0].ij, plain.nodules[0].contours[0].ij
        )


def test_a_chest_xray_read_is_no_reading(tmp_path: Path) -> None:
    text = lidc["message"]([lidc["non_nodule"]("1", 1000, 2000, 0)], root="IdriReadMessage")
    assert read_reader_xml(write(tmp_path, text)) is None


BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE LidcReadMessage [\n<!ENTITY a "aaaaaaaaaa">\n'
    '<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">\n]>\n<LidcReadMessage>&b;</LidcReadMessage>\n'
)
EXTERNAL = '<?xml version="1.0"?>\n<!DOCTYPE x SYSTEM "file:///etc/hostname">\n<LidcReadMessage/>\n'
HOSTILE = (
    "{file}: line {line}: declares a document type or an entity, which reader files never have and "
    "which can hide an entity bomb; expected plain elements; remove it or download the file again"
)
AGAIN = "; download the file again"
MEND = "; correct it or download the file again"


def edited(old: str, new: str) -> str:
    text = one_nodule()
    assert old in text
    return text.replace(old, new, 1)


BAD = {
    "bomb": (BOMB, HOSTILE.replace("{line}", "2")),
    "external": (EXTERNAL, HOSTILE.replace("{line}", "2")),
    "cut": (
        one_nodule()[:300],
        "{file}: line 9, column 22: is not well-formed XML (no element found)" + AGAIN,
    ),
    "empty": ("", "{file}: line 1, column 0: is not well-formed XML (no element found)" + AGAIN),
    "crossed": (
        edited("</noduleID>", "</noduleIDs>"),
        "{file}: line 11, column 15: is not well-formed XML (mismatched tag)" + AGAIN,
    ),
    "encoding": (
        edited("UTF-8", "klingon"),
        "{file}: line 1: cannot be read as XML (unknown encoding: klingon); expected UTF-8" + AGAIN,
    ),
    "root": (
        lidc["message"]([""], root="annotation"),
        "{file}: line 2: the root element is 'annotation', expected 'LidcReadMessage' (a LIDC "
        "reader file); move other XML files elsewhere",
    ),
    "header": (
        "<LidcReadMessage>\n<readingSession/>\n</LidcReadMessage>",
        "{file}: line 1: the message has no <ResponseHeader>, expected one" + MEND,
    ),
    "series": (
        edited(lidc["SERIES"], " "),
        "{file}: line 3: <ResponseHeader> has no <SeriesInstanceUid>; expected the UID of the CT "
        "series that was read" + AGAIN,
    ),
    "sessions": (
        lidc["message"]([]),
        "{file}: line 2: <LidcReadMessage> has no <readingSession>; expected one for each reader"
        + AGAIN,
    ),
    "nodule id": (
        edited("<noduleID>n 1</noduleID>", ""),
        "{file}: line 10: a nodule has no <noduleID>, expected one" + MEND,
    ),
    "rating": (
        edited("<malignancy>4", "<malignancy>high"),
        "{file}: line 21: <malignancy> of nodule 'n 1' is 'high', expected a whole number from 1 "
        "to 5" + MEND,
    ),
    "rating out of range": (
        edited("<internalStructure>1", "<internalStructure>5"),
        "{file}: line 14: <internalStructure> of nodule 'n 1' is '5', expected a whole number from "
        "1 to 4" + MEND,
    ),
    "no malignancy": (
        edited("<malignancy>4</malignancy>", ""),
        "{file}: line 12: the characteristics of nodule 'n 1' has no <malignancy>, expected one"
        + MEND,
    ),
    "no contour": (
        lidc["message"]([lidc["nodule"]("n 1", [], lidc["ratings"]())]),
        "{file}: line 10: nodule 'n 1' has characteristics but no <roi>; expected its contours"
        + AGAIN,
    ),
    "no z": (
        edited("<imageZposition>-90.0</imageZposition>", ""),
        "{file}: line 23: a region of nodule 'n 1' has no <imageZposition>, expected one" + MEND,
    ),
    "z": (
        edited("-90.0", "nan"),
        "{file}: line 24: <imageZposition> of nodule 'n 1' is 'nan', expected a finite number"
        + MEND,
    ),
    "inclusion": (
        edited("TRUE", "maybe"),
        "{file}: line 26: <inclusion> of nodule 'n 1' is 'maybe', expected TRUE or FALSE" + MEND,
    ),
    "x": (
        edited("<xCoord>30", "<xCoord>thirty"),
        "{file}: line 27: <xCoord> of nodule 'n 1' is 'thirty', expected a finite number" + MEND,
    ),
    "two x": (
        edited("<xCoord>30</xCoord>", "<xCoord>30</xCoord><xCoord>31</xCoord>"),
        "{file}: line 27: <edgeMap> of nodule 'n 1' has 2 <xCoord>, expected one" + MEND,
    ),
    "negative": (
        edited("<yCoord>40", "<yCoord>-1"),
        "{file}: line 27: <yCoord> of nodule 'n 1' is '-1', expected a pixel index from 0 to 65535"
        + MEND,
    ),
    "locus": (
        lidc["message"]([lidc["non_nodule"]("7", 1, 2, "")]),
        "{file}: line 12: <imageZposition> of non-nodule '7' is '', expected a finite number"
        + MEND,
    ),
    "deep": (
        "<LidcReadMessage>\n" + "<a>" * 40 + "</a>" * 40 + "</LidcReadMessage>",
        "{file}: line 2: has more than 32 elements inside each other, expected at most six; it is "
        "no reader file: download it again",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_their_line(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    file = write(tmp_path, text)
    with pytest.raises(FindingsError) as caught:
        read_reader_xml(file)
    assert str(caught.value) == message.replace("{file}", str(file))


def test_what_is_no_file_or_no_xml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FindingsError, match=r"cannot be read \(No such file or directory\)"):
        read_reader_xml(tmp_path / "absent.xml")
    archive = tmp_path / "002.xml"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a", "b")
    with pytest.raises(FindingsError, match=r"line 1, column 2: is not well-formed XML"):
        read_reader_xml(archive)
    monkeypatch.setattr("nodulenet.findings.lidc_xml.MAX_FILE_BYTES", 100)
    with pytest.raises(FindingsError, match="has 0 MiB, expected at most"):
        read_reader_xml(write(tmp_path, one_nodule()))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2500), st.binary(max_size=4), st.integers(0, 6)), max_size=4)
)
def test_damaged_bytes_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes, int]]
) -> None:
    data = one_nodule().encode()
    for at, new, removed in edits:
        data = data[:at] + new + data[at + removed :]
    file = write(tmp_path_factory.getbasetemp(), data, "damaged.xml")
    message = f"{file}: line "
    try:
        read_reader_xml(file)
    except FindingsError as error:
        message = str(error)
    assert message.startswith(f"{file}: line ")
    assert "\n" not in message
