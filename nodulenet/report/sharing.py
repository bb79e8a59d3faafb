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
from nodulenet.privacy import pseudonym, user_key, without_places
from nodulenet.report.content import ReportContent

PATH = "(path)"
"""What stands where a path stood."""

_IDS = {"patient_id": "p", "scan_id": "s", "finding_id": "f"}
_UID = re.compile(r"(?<![\w.])[0-2](?:\.(?:0|[1-9][0-9]*)){5,}(?![\w.]*\w)")
_ABSOLUTE = re.compile(
    r"(?<![\w.:/<])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:;,'\"<>()\[\]{}|]+){2,}[/\\]?"
)
_WORD = re.compile(r"[^\s,;'\"()]+")
_FILE = re.compile(r"[/\\]|\.(?:ya?ml|csv|json|zip|np[yz]|nii|gz|mh[ad]|nrrd|dcm|keras)$", re.I)
_SHORTEST_ID = 5


class Sharing:
    """Replaces what tells who somebody is or where files lie.

    Ids of patients, scans and findings become keyed pseudonyms, the same in every report of this
    user; other UIDs become ``u-`` and a pseudonym; paths become :data:`PATH`.
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
        self._places = dict.fromkeys(places, PATH)
        self._places |= {place.absolute(): PATH for place in self._places}
        self._named: dict[str, str] = {}
        for table in tables:
            for column, kind in _IDS.items():
                if column in table.columns:
                    self._named |= {
                        name: pseudonym(name, self._key, kind)
                        for name in map(str, table[column].dropna().unique())
                        # Short words and numbers stand for other things in a text, too.
                        if len(name) >= _SHORTEST_ID and not name.isalpha()
                    }

    def text(self, text: str) -> str:
        """A message without ids, UIDs and paths."""
        text = without_places(text, self._places)
        text = _WORD.sub(self._word, text)
        text = _UID.sub(lambda found: pseudonym(found[0], self._key, "u"), text)
        return _ABSOLUTE.sub(PATH, text)

    def _word(self, found: re.Match[str]) -> str:
        word = found[0].rstrip(":.")
        return self._named.get(word, word) + found[0][len(word) :]

    def command(self, line: str) -> str:
        """A command without the files that it names."""

        def shown(part: str) -> str:
            key, equals, value = part.rpartition("=")
            return self.text(f"{key}{equals}{PATH}" if _FILE.search(value) else part)

        return " ".join(shown(part) for part in shlex.split(line))

    def everything(self, thing: Any) -> Any:
        """All texts in nested mappings, sequences, tables and dataclasses, keys included."""
        if isinstance(thing, str):
            return self.text(thing)
        if isinstance(thing, pd.DataFrame):
            return self.table(thing)
        if isinstance(thing, Mapping):
            return {self.everything(k): self.everything(v) for k, v in thing.items()}
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
        command = "\n".join(self.command(line) for line in content.command.splitlines())
        return self.everything(replace(content, command=command))


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
