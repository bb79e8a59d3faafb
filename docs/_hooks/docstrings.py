"""Docstrings as the site wants them: cross-references as links, examples as code.

Docstrings name other objects as Sphinx does (:func:`nodulenet.evaluation.roc.auc`), which editors
understand. Here each becomes a link where the site has that object, and plain code where not.
A section ``Example:`` is renamed to what griffe knows as a section of code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_ROLE = re.compile(r":(?:func|class|mod|meth|data|attr|exc):`(?P<name>[^`]+)`")


def linked(text: str) -> str:
    """``text`` with each reference as an optional link of mkdocs-autorefs."""

    def link(found: re.Match[str]) -> str:
        name = found["name"].removeprefix("~")
        shown = name if name.count(".") == 1 and name[0].isupper() else name.rsplit(".", 1)[-1]
        if found[0].startswith(":mod:"):
            shown = name
        return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'

    return _ROLE.sub(link, text)


class SiteDocstrings(griffe.Extension):
    """Rewrites the docstring of every object that is collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            text = _EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = linked(text)
