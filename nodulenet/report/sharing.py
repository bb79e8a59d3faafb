"""A report to pass on: ids, UIDs and paths are replaced in all that it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.privacy import PATH, pseudonym, user_key, without_places
from nodulenet.report.content import ReportContent

_IDS = {"patient_id": "p", "scan_id": "s", "finding_id": "f"}
_KINDS = {"patient": "p", "scan": "s", "finding": "f", "file": "s"}
_UID = re.compile(r"(?<![\w.])[0-2](?:\.(?:0|[1-9][0-9]*)){5,}(?![0-9])")
_WORD = re.compile(r"[^\s,;'\"()\[\]{}<>=]+")
_NAMED = re.compile(r"\b((?:patient|scan|finding|file|first) ['\"]?)([^\s,;'\"()\[\]]+)")
_FAILED = re.compile(r"(scan|finding|file|patient) (.+?)( \(\d+ findings?\))?")
_FILE = re.compile(r"[/\\]|\.(?:ya?ml|csv|json|zip|np[yz]|nii|gz|mh[ad]|nrrd|dcm|keras)$", re.I)
_SHORTEST_ID = 5


class Sharing:
    """Replaces what tells who somebody is or where files lie.

    Ids of patients, scans and findings become keyed pseudonyms, the same in every report of this
    user; other UIDs become ``u-`` and a pseudonym; paths become ``(path)``.
    """

    def __init__(self, tables: Iterable[pd.DataFrame], places: Iterable[Path] = ()) -> None:
        """Of a report's ids and of the paths in its configuration.

        Args:
            tables: with any of ``patient_id, scan_id, finding_id``.
            places: paths, which may be relative.

        Raises:
            UsageError: the user's key cannot be kept.
        """
        self._key = user_key()
        self._places = {path: PATH for place in places for path in (place, place.absolute())}
        self._named: dict[str, str] = {}
        for table in tables:
            for column, kind in _IDS.items():
                if column in table.columns:
                    names = map(str, table[column].dropna().unique())
                    self._named |= {name: pseudonym(name, self._key, kind) for name in names}
        # Names of several words, which are looked for as they stand, the longest first.
        phrases = sorted((n for n in self._named if _WORD.fullmatch(n) is None), key=len)
        text = "|".join(re.escape(name) for name in reversed(phrases))
        self._phrases = re.compile(rf"(?<!\w)(?:{text})(?!\w)") if phrases else None

    def text(self, text: str) -> str:
        """A message without ids, UIDs and paths."""
        text = without_places(text, self._places)
        if self._phrases is not None:
            text = self._phrases.sub(lambda found: self._named[found[0]], text)
        text = _NAMED.sub(lambda found: found[1] + self._renamed(found[2], shortest=1), text)
        text = _WORD.sub(lambda found: self._renamed(found[0], shortest=_SHORTEST_ID), text)
        return _UID.sub(lambda found: pseudonym(found[0], self._key, "u"), text)

    def _renamed(self, text: str, *, shortest: int) -> str:
        word = text.rstrip(":.")
        # Short words and numbers stand for other things, too, unless they are called a patient.
        if len(word) < shortest or (shortest > 1 and word.isalpha()):
            return text
        return self._named.get(word, word) + text[len(word) :]

    def failure(self, failure: Mapping[str, Any]) -> dict[str, Any]:
        """What failed: also a scan of which no table knows, and files that lie anywhere."""
        shown = {key: self.everything(value) for key, value in failure.items()}
        named = _FAILED.fullmatch(str(failure.get("what", "")))
        if named is not None:
            kind = _KINDS[named[1]]
            shown["what"] = f"{named[1]} {pseudonym(named[2], self._key, kind)}{named[3] or ''}"
            own = re.compile(rf"(?<!\w){re.escape(named[2])}(?!\w)")
            for key in {"error", "cause"} & shown.keys():
                text = own.sub(f"the {named[1]}", str(failure[key]))
                shown[key] = self.text(_without_file(text))
        return shown

    def command(self, line: str) -> str:
        """A command without the files that it names."""

        def shown(part: str) -> str:
            key, equals, value = part.rpartition("=")
            return self.text(f"{key}{equals}{PATH}" if _FILE.search(value) else part)

        return " ".join(shown(part) for part in shlex.split(line))

    def everything(self, thing: Any) -> Any:
        """All texts in nested mappings (but their keys), sequences, tables and dataclasses."""
        if isinstance(thing, str):
            return self.text(thing)
        if isinstance(thing, pd.DataFrame):
            return self.table(thing)
        if isinstance(thing, Mapping):
            return {key: self.everything(value) for key, value in thing.items()}
        if isinstance(thing, Sequence):
            return type(thing)([self.everything(one) for one in thing])  # type: ignore[call-arg]
        if is_dataclass(thing) and not isinstance(thing, type):
            return replace(
                thing, **{f.name: self.everything(getattr(thing, f.name)) for f in fields(thing)}
            )
        return thing

    def table(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table with other ids."""
        named = {
            column: table[column].map(lambda n, k=kind: pseudonym(str(n), self._key, k), "ignore")
            for column, kind in _IDS.items()
            if column in table.columns
        }
        return table.assign(**named)

    def content(self, content: ReportContent) -> ReportContent:
        """All that a report is made of."""
        shown = self.everything(content)
        captions = [
            {k: self._named.get(str(v), v) if k in _IDS else v for k, v in item.caption.items()}
            for item in content.gallery
        ]
        return replace(
            shown,
            command="\n".join(self.command(line) for line in content.command.splitlines()),
            failures=[self.failure(failure) for failure in content.failures],
            gallery=[
                replace(item, caption=caption)
                for item, caption in zip(content.gallery, captions, strict=True)
            ],
        )


def _without_file(text: str) -> str:
    """A message without the file that it begins with."""
    begin, colon, rest = text.partition(": ")
    return rest if colon and _FILE.search(begin) else text


def places_of(config: Config) -> list[Path]:
    """Every path that a configuration names."""

    def walk(tree: Any) -> Iterable[Path]:
        if isinstance(tree, Path):
            yield tree
        elif isinstance(tree, dict):
            for value in tree.values():
                yield from walk(value)
        elif isinstance(tree, list | tuple):
            for value in tree:
                yield from walk(value)

    return [*walk(config.model_dump()), config.store_path]
