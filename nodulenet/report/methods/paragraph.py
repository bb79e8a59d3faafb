"""A paragraph of the methods text, and the checklist items that it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Paragraph:
    """One paragraph and the items it answers.

    Attributes:
        title: Its heading.
        sentences: Those that have something to say.
        claim, tripod: Item -> what the authors have to add, "" where the item is answered.
    """

    title: str
    sentences: tuple[str, ...]
    claim: Mapping[str, str] = field(default_factory=dict)
    tripod: Mapping[str, str] = field(default_factory=dict)
