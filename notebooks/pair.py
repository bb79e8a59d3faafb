"""Writes every ``.ipynb`` from its ``.py``, which is what is edited and what reviews read.

    python notebooks/pair.py           # after a change of a .py
    python notebooks/pair.py --check   # says which are not what their .py would give

The same ``.py`` gives the same bytes: no outputs, no execution counts, no machine's metadata, and
a cell keeps its id as long as its text stays.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def sources() -> list[Path]:
    """The ``.py`` of all notebooks, in their order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def notebook_of(source: Path) -> str:
    """The text of the ``.ipynb`` of a ``.py`` in jupytext's percent format."""
    import jupytext
    import nbformat

    content = jupytext.read(source, fmt="py:percent")
    content.metadata = nbformat.from_dict(
        {"jupytext": {"formats": "ipynb,py:percent"}, "kernelspec": _KERNEL}
    )
    content.nbformat, content.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in content.cells:
        digest = hashlib.blake2b(f"{cell.cell_type} {cell.source}".encode(), digest_size=4)
        name = digest.hexdigest()
        seen[name] += 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
    nbformat.validate(content)
    return nbformat.writes(content, version=4) + "\n"


def main(arguments: list[str]) -> int:
    stale = []
    for source in sources():
        target, text = source.with_suffix(".ipynb"), notebook_of(source)
        if target.is_file() and target.read_text(encoding="utf-8") == text:
            continue
        stale.append(target.name)
        if arguments != ["--check"]:
            target.write_text(text, encoding="utf-8", newline="\n")
    if arguments == ["--check"]:
        for name in stale:
            print(f"{name} is not what its .py gives; run python notebooks/pair.py")
        return 1 if stale else 0
    print(f"written: {', '.join(stale) or 'nothing, all are up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
