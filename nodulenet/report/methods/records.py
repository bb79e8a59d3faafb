"""What the manifest has recorded: software, seeds, the command, what was lost on the way."""

from __future__ import annotations

from nodulenet import __version__
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import count, listed


def software(facts: MethodsFacts) -> Paragraph:
    """Versions, seeds and the command."""
    versions = facts.manifest.get("versions") or {}
    others = [f"{name} {version}" for name, version in versions.items()]
    sentences = [
        f"nodulenet {facts.manifest.get('nodulenet', __version__)} was used"
        + (f" with {listed(others)}." if others else ".")
    ]
    sentences.append(
        f"All random choices derive from the seed {facts.config.seed}; those of the bootstraps "
        f"from {facts.metrics['settings']['seed']}."
    )
    command = facts.manifest.get("command") or facts.trained.get("command")
    if command:
        sentences.append(f"The command was `{command}`.")
    return Paragraph(
        "Software",
        tuple(sentences),
        claim={"23": "", "43": "where code, model and data can be had"},
        tripod={"18f": "where the code of the analysis can be had"},
    )


def exclusions(facts: MethodsFacts) -> Paragraph:
    """What could not be used, and what the software noted."""
    failures = facts.manifest.get("failures") or []
    sentences = []
    if failures:
        shown = [str(f.get("what", "")) for f in failures[:10]]
        what = "one failed" if len(failures) == 1 else f"{count(len(failures))} failed"
        more = ", among others" if len(failures) > len(shown) else ""
        sentences.append(
            f"Of scans, findings and models {what} and could not be used{more}: {listed(shown)}."
        )
    if facts.validation:
        counts = facts.validation["counts"]
        if counts["with_label_and_patch"] < counts["findings"]:
            sentences.append(
                f"Of {count(counts['findings'])} findings {count(counts['with_label'])} have a "
                f"label, and {count(counts['with_label_and_patch'])} of them a patch; only these "
                f"were used."
            )
    notes = facts.manifest.get("notes") or facts.trained.get("notes", [])
    lost = bool(sentences)
    if notes:
        sentences.append("The software noted: " + "; ".join(map(str, notes)) + ".")
    return Paragraph(
        "Exclusions and notes",
        tuple(sentences),
        claim={"12": "how the losses may bias the results"} if lost else {},
        tripod={"11": "how the losses may bias the results"} if lost else {},
    )
