"""The list of output formats, by which the command line offers and writes them.

A new format is a module here with a function ``(answers, folder, sources) -> Written`` and a line
in :data:`OUTPUTS`. Modules are loaded when their format is written, so a format may need a heavy
or an optional package without burdening the others.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nodulenet.errors import MissingDependencyError, UsageError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.sources import Sources, Written

Writer: TypeAlias = Callable[[Answers, Path, Sources], Written]
Need: TypeAlias = Literal["points", "scan", "dicom"]

_NEEDS: dict[Need, str] = {
    "points": "points in a scan, which patches do not have",
    "scan": "the scan itself",
    "dicom": "the DICOM series of the scan (--reference-dicom DIR where the input is no DICOM)",
}


@dataclass(frozen=True)
class OutputFormat:
    """One way of writing answers.

    Attributes:
        name: as in ``--formats``.
        about: what it is for, in a few words.
        files: names of what it writes into the folder.
        module: its module in this package.
        function: the writer in that module.
        needs: ``points`` (a place for every finding), ``scan`` (the volume), ``dicom`` (the
            source series).
        draws: whether it shows pictures, and saliency maps over them.
        package: what must be importable besides what is always installed.
        extra: the extra of NoduleNet that installs it.
    """

    name: str
    about: str
    files: tuple[str, ...]
    module: str
    function: str
    needs: tuple[Need, ...] = ()
    draws: bool = False
    package: str | None = None
    extra: str | None = None

    def writer(self) -> Writer:
        """The function that writes it.

        Raises:
            MissingDependencyError: an optional package is not installed.
        """
        self.require_package()
        module = importlib.import_module(f"nodulenet.inference.outputs.{self.module}")
        function: Writer = getattr(module, self.function)
        return function

    def require_package(self) -> None:
        """Refuses, before anything was computed, what could not be written in the end.

        Raises:
            MissingDependencyError: an optional package is not installed.
        """
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            remedy = f"nodulenet[{self.extra}]" if self.extra else self.package
            raise MissingDependencyError(
                f"format {self.name}: needs {self.package}, which is not installed; expected it "
                f"for {self.about}; pip install '{remedy}'"
            )


OUTPUTS: dict[str, OutputFormat] = {
    entry.name: entry
    for entry in (
        OutputFormat("csv", "a table", ("answers.csv",), "csv_table", "write_csv"),
        OutputFormat("json", "for programs", ("answers.json",), "json_document", "write_answers"),
        OutputFormat(
            "slicer",
            "point list of 3D Slicer",
            ("findings.mrk.json",),
            "slicer_markups",
            "write_slicer_markups",
            needs=("points",),
        ),
        OutputFormat(
            "grand-challenge",
            "what LUNA25's algorithms hand in",
            ("lung-nodule-malginancy-likelihoods.json",),
            "grand_challenge",
            "write_grand_challenge",
            needs=("points",),
        ),
        OutputFormat(
            "sheet",
            "finding sheet to read and print",
            ("finding-sheet.html", "finding-sheet.pdf"),
            "sheet",
            "write_sheet",
            needs=("points", "scan"),
            draws=True,
        ),
        OutputFormat(
            "dicom-sr",
            "structured report for the archive",
            ("report-sr.dcm",),
            "dicom_formats",
            "write_dicom_sr",
            needs=("points", "scan", "dicom"),
            package="highdicom",
            extra="dicom-sr",
        ),
        OutputFormat(
            "dicom-capture",
            "finding sheet as images for the archive",
            ("finding-sheet-page_001.dcm",),
            "dicom_formats",
            "write_dicom_capture",
            needs=("points", "scan", "dicom"),
            draws=True,
        ),
        OutputFormat(
            "dicom-pdf",
            "finding sheet as PDF for the archive",
            ("finding-sheet-pdf.dcm",),
            "dicom_formats",
            "write_dicom_pdf",
            needs=("points", "scan", "dicom"),
            draws=True,
        ),
    )
}
"""All formats, by name."""


def chosen_formats(names: str | Iterable[str]) -> tuple[OutputFormat, ...]:
    """The formats of a list such as ``csv,json,sheet``, each once, in its order.

    Raises:
        UsageError: an unknown name, or none at all.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    wanted = dict.fromkeys(name.strip().lower() for name in given if name.strip())
    for name in wanted:
        if name not in OUTPUTS:
            raise UsageError(f"formats: {name!r} is unknown; expected some of {', '.join(OUTPUTS)}")
    if not wanted:
        raise UsageError(f"formats: none is named; expected some of {', '.join(OUTPUTS)}")
    return tuple(OUTPUTS[name] for name in wanted)


def refuse_unfit(
    formats: Sequence[OutputFormat], *, points: bool, scan: bool, dicom: bool = False
) -> None:
    """Refuses formats that could not be written, to be asked before anything is computed.

    Args:
        formats: what is to be written.
        points: whether the findings will have places in a scan.
        scan: whether the scan will be at hand.
        dicom: whether the DICOM series of the scan will be. Defaults to False.

    Raises:
        UsageError: a format needs what will not be there.
        MissingDependencyError: an optional package is not installed.
    """
    there: dict[Need, bool] = {"points": points, "scan": scan, "dicom": dicom}
    for entry in formats:
        for need in entry.needs:
            if not there[need]:
                fit = [f.name for f in OUTPUTS.values() if all(there[n] for n in f.needs)]
                raise UsageError(
                    f"format {entry.name}: needs {_NEEDS[need]}; formats that can be written here "
                    f"are {', '.join(fit)}"
                )
        entry.require_package()


def refuse_undrawn(formats: Sequence[OutputFormat]) -> None:
    """Refuses saliency maps that no format would show.

    Raises:
        UsageError: none of the formats draws.
    """
    if not any(entry.draws for entry in formats):
        drawing = ", ".join(entry.name for entry in OUTPUTS.values() if entry.draws)
        raise UsageError(f"--saliency: no format shows the maps; add one of {drawing} to --formats")


def write_outputs(
    answers: Answers,
    folder: str | Path,
    formats: Sequence[OutputFormat],
    sources: Sources | None = None,
) -> Written:
    """Writes answers in several formats; each file is whole or absent.

    Args:
        answers: of one scan; for ``csv`` and ``json`` also of patches.
        folder: made when needed.
        formats: as :func:`chosen_formats` gives them.
        sources: what the answers were made from. Defaults to nothing.

    Returns:
        All files and notes, in the order of the formats.

    Raises:
        UsageError: a format needs what is not there; nothing is written then.
        MissingDependencyError: an optional package is not installed.
    """
    given = sources or Sources()
    refuse_unfit(
        formats,
        points=set(POINT_COLUMNS) <= set(answers.table.columns),
        scan=given.volume is not None,
        dicom=given.dicom is not None,
    )
    writers = [entry.writer() for entry in formats]
    done = [write(answers, Path(folder), given) for write in writers]
    return Written(
        files=tuple(file for written in done for file in written.files),
        notes=tuple(dict.fromkeys(note for written in done for note in written.notes)),
    )
