"""The model card: what a bundle is for, what was tested, and what was not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodulenet.config.meaning import MEANINGS
from nodulenet.inference.envelope import NUMBERS, VALUES, WORDS

MARKDOWN, HTML = "model_card.md", "model_card.html"
_MOST_WORDS_SHOWN = 12
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9rem;margin:1rem 0}"
    "td{white-space:nowrap}p,li{max-width:46rem}"
    "td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem .3rem 0;text-align:left}"
    "code{background:#f2f2f2;padding:0 .2em}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}"
    "code{background:#2a2a2a}td,th{border-color:#444}}"
)


def card_line(content: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> str:
    """One line on training and test, for sheets and reports."""
    training = content["training"]
    first = next(iter(content["models"]))
    auc = _auc(metrics, first)[1]
    tested = f", out-of-fold AUC {auc}" if auc != "not evaluated" else ""
    return (
        f"{content['name']}: {training['findings']} findings of {training['patients']} patients, "
        f"{training['positives']} positive{tested}"
    )


def model_card(
    content: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    parameters: Mapping[str, int],
) -> str:
    """Markdown with the front matter of Hugging Face.

    Args:
        content: of ``bundle.json``.
        metrics: of the run's ``metrics.json``; None where it was not evaluated.
        parameters: of each network.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nodulenet.inference"),
        undefined=StrictUndefined,
        autoescape=False,  # it is Markdown; the page that is made of it escapes
        keep_trailing_newline=True,
    )
    meaning = MEANINGS[content["label_meaning"]]
    training, envelope = content["training"], content.get("envelope") or {}
    first = next(iter(content["models"].values()))
    entries = {**content["models"], **content.get("derived", {})}
    familiarity = first.get("familiarity")
    size = (metrics or {}).get("size_only") or {"available": False}
    return environment.get_template("model_card.md.j2").render(
        name=content["name"],
        version=content["nodulenet"],
        probability_of=meaning.probability_of,
        explanation=meaning.explanation,
        label_basis=content.get("label_basis"),
        refit=bool(content.get("refit")),
        fold_models=content["refit"]["fold_models"]
        if content.get("refit")
        else len(first["files"]),
        folds=len(set(first["folds"])),
        training=training,
        prevalence=training["positives"] / training["findings"],
        rows=[_row(key, entry, metrics, parameters) for key, entry in entries.items()],
        points=[
            {"key": key, **point}
            for key, entry in entries.items()
            for point in entry["operating_points"]
            if None not in (point["sensitivity"], point["specificity"])
        ],
        conformal=[
            {
                "key": key,
                "miss_rate": c["limits"]["miss_rate"],
                "negative": _share(c["measured"]["coverage"]["negative"]),
                "positive": _share(c["measured"]["coverage"]["positive"]),
                "indeterminate": _share(c["measured"]["indeterminate"]),
            }
            for key, entry in entries.items()
            for c in entry["conformal"]
            if c["measured"] is not None
        ],
        rows_tested=metrics is not None,
        size_column=size.get("column", ""),
        size_text=_interval_text(size["auc"]) if size["available"] and size.get("auc") else "",
        patch=_patch_in_words(content["spec"]),
        envelope=_limits(envelope, "HU" if content["values"]["kind"] == "hu" else "intensity"),
        words=_words(envelope),
        false_alarm=familiarity["false_alarm"] if familiarity else None,
        hashed=len((training.get("patients_hash") or {}).get("blake2b", ())),
    )


def card_page(markdown: str, title: str) -> str:
    """The card as a page of its own; what is HTML in it is shown, not executed."""
    from html import escape

    from markdown_it import MarkdownIt

    _, _, body = markdown.removeprefix("---\n").partition("\n---\n")
    content = MarkdownIt("commonmark", {"html": False}).enable("table").render(body)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{content}</body></html>\n"
    )


def _row(
    key: str,
    entry: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    parameters: Mapping[str, int],
) -> dict[str, Any]:
    value, text = _auc(metrics, key)
    recalibrated = ((metrics or {}).get("models", {}).get(key) or {}).get("recalibration") or {}
    brier = _brier(recalibrated)
    count = parameters.get(entry.get("network", key))
    return {
        "key": key,
        "auc": value,
        "auc_text": text,
        "brier_text": "" if brier is None else f"{brier:.3f}",
        "parameters": "" if count is None else f"{count:,}",
    }


def _brier(recalibration: Mapping[str, Any]) -> float | None:
    """Of Platt's calibration, fitted on inner rows and measured on outer ones."""
    measured = ((recalibration.get("after") or {}).get("platt") or {}).get("brier")
    return None if measured is None else float(measured)


def _auc(metrics: Mapping[str, Any] | None, key: str) -> tuple[float | None, str]:
    model = ((metrics or {}).get("models") or {}).get(key)
    auc = model["pooled"]["auc"] if model else None
    return (None, "not evaluated") if not auc else (auc["value"], _interval_text(auc))


def _interval_text(auc: Mapping[str, Any]) -> str:
    low, high = auc["patient_bootstrap"]["low"], auc["patient_bootstrap"]["high"]
    interval = "" if low is None else f" ({low:.3f} to {high:.3f})"
    return f"{auc['value']:.3f}{interval}"


def _share(part: Mapping[str, Any]) -> str:
    low, high = part["interval"]["low"], part["interval"]["high"]
    if part["value"] is None:
        return "none"
    return f"{part['value']:.1%}" + ("" if low is None else f" ({low:.1%} to {high:.1%})")


def _patch_in_words(spec: Mapping[str, Any]) -> str:
    size = " x ".join(map(str, spec["size"]))
    spacing = " x ".join(f"{s:g}" for s in spec["spacing_mm"])
    windows = ", ".join(
        w if isinstance(w, str) else f"{w[0]:g} to {w[1]:g}" for w in spec["windows"]
    )
    return f"{spec['form']}, {size} voxels at {spacing} mm, windows {windows}"


def _limits(envelope: Mapping[str, Any], unit: str) -> list[dict[str, str]]:
    rows = [
        {"name": f"{NUMBERS.get(name, name)}, mm", **_ends(limits)}
        for name, limits in envelope.get("numbers", {}).items()
    ]
    return rows + [
        {"name": f"{VALUES[name]} of the patch, {unit}", **_ends(limits)}
        for name, limits in envelope.get("values", {}).items()
    ]


def _ends(limits: Mapping[str, float]) -> dict[str, str]:
    return {end: f"{limits[end]:.4g}" for end in ("low", "high")}


def _words(envelope: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for name, known in envelope.get("words", {}).items():
        shown = ", ".join(
            f"{word} ({count})" for word, count in list(known.items())[:_MOST_WORDS_SHOWN]
        )
        more = len(known) - _MOST_WORDS_SHOWN
        rows.append(
            {
                "name": f"{WORDS.get(name, name).capitalize()}s",
                "listed": shown + (f" and {more} more" if more > 0 else ""),
            }
        )
    return rows
