"""Answers as CSV: one row a finding, the columns of :class:`Answers`."""

from __future__ import annotations

from pathlib import Path

from nodulenet.atomic import write_text
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.sources import Sources, Written

FILE = "answers.csv"

_PROBABILITIES = ("probability", "probability_raw", "fold_low", "fold_high")
_DIGITS = 6


def csv_text(answers: Answers) -> str:
    """The table with probabilities to six digits; the last line ends without a line break."""
    rounded = answers.table.round(dict.fromkeys(_PROBABILITIES, _DIGITS))
    return rounded.to_csv(index=False, lineterminator="\n").rstrip("\n")


def write_csv(answers: Answers, folder: Path, _sources: Sources) -> Written:
    """Writes ``answers.csv``."""
    target = folder / FILE
    write_text(target, csv_text(answers) + "\n")
    return Written((target,))
