# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A LUNA16 submission: FROC, misses, false positives
#
# From a list of marks and LUNA16's annotations to the FROC curve with its bootstrap band, the
# seven sensitivities and their mean (CPM), counted exactly as the challenge's own script counts
# them; then a table of the nodules missed and of the highest false positives, with pictures where
# scans are there.
#
# **You need** `submission.csv` (`seriesuid, coordX, coordY, coordZ, probability`; x, y, z in LPS
# mm) and the challenge's `annotations.csv`, `annotations_excluded.csv` and `seriesuids.csv`.
# Research use only.

# %% tags=["parameters"]
submission = ""  # path of your CSV of marks; "" for phantom scans
annotations = ""  # annotations.csv: the nodules to be found
annotations_excluded = ""  # annotations_excluded.csv: marks on these are ignored; "" for none
seriesuids = ""  # seriesuids.csv: the scans that count, one a line
scans = ""  # folder with the scans (SERIESUID.mhd, also in subfolders); "" for no pictures
resamples = 1000  # of whole scans
most_shown = 6  # pictures of each kind
side_mm = 40.0  # of a picture
seed = 0
out = "runs/notebooks/03_luna16_froc"

# %%
from pathlib import Path

from nodulenet.errors import UsageError

if submission and not (annotations and seriesuids):
    raise UsageError("parameters: submission also needs annotations and seriesuids; give both")
print(
    f"Your own data: {Path(submission).name}."
    if submission
    else "Phantom data: six synthetic scans and a made-up submission; no patient is in it."
)

# %% [markdown]
# ## Without data of your own
#
# Phantom scans have LUNA16's layout. Their made-up submission gives each candidate a score by one
# simple rule, how much brighter it is than what surrounds it, and leaves some candidates out.
# Vessels are bright too, so it errs as simple rules do.

# %%
import pandas as pd

from nodulenet.ct import extract_patch, open_ct
from nodulenet.phantom import generate_phantom


def brightness(volume, point_lps_mm):
    patch = extract_patch(volume, point_lps_mm, (17, 17, 17), (1, 1, 1))
    return float(patch[6:11, 6:11, 6:11].mean() - patch.mean())


if not submission:
    phantom = generate_phantom(
        Path(out) / "phantom", scans=6, seed=seed, shape=(64, 160, 160), negatives=15
    )
    annotations = phantom.annotations
    annotations_excluded = phantom.path / "annotations_excluded.csv"
    seriesuids = phantom.path / "seriesuids.csv"
    scans = phantom.path

# %%
paths = {path.stem: path for path in sorted(Path(scans).rglob("*.mhd"))} if scans else {}
if not submission:
    marks = pd.read_csv(phantom.candidates, dtype={"seriesuid": str}).drop(columns="class")
    marks = marks.sample(frac=0.85, random_state=seed).sort_index()
    marks["probability"] = [
        brightness(open_ct(paths[uid]), point)
        for uid, *point in marks[["seriesuid", "coordX", "coordY", "coordZ"]].itertuples(
            index=False
        )
    ]
    submission = Path(out) / "submission.csv"
    marks.to_csv(submission, index=False)

# %% [markdown]
# ## FROC and CPM
#
# Any finite score will do, higher meaning more suspicious. What was odd in the files is said.

# %%
from nodulenet.evaluation import FrocReference, evaluate_froc
from nodulenet.evaluation.froc_tables import read_marks

reference = FrocReference.read(annotations, annotations_excluded or None, seriesuids)
result = evaluate_froc(read_marks(submission), reference, n_bootstrap=resamples, seed=seed)
for warning in result.warnings:
    print("note:", warning)
print(
    f"{result.nodules} nodules in {result.scans} scans, {result.candidates} marks: "
    f"{result.true_positives} nodules found, {result.false_negatives} missed, "
    f"{result.false_positives} false positives; ignored: {result.ignored_excluded} marks on "
    f"excluded findings, {result.ignored_duplicates} further marks on a nodule found already."
)

# %%
rates = [f"{rate:g}" if rate >= 1 else f"1/{1 / rate:g}" for rate in result.fp_rates]
values = [*result.sensitivities, result.cpm]
intervals = [*result.sensitivity_intervals, result.cpm_interval]
table = pd.DataFrame(
    {
        "false positives a scan": [*rates, "mean (CPM)"],
        "sensitivity": values,
        "low": [interval.low for interval in intervals],
        "high": [interval.high for interval in intervals],
    }
).set_index("false positives a scan")
table.astype(float).round(6)

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["svg"]
from nodulenet.plots import froc_figure, save_figure

name = Path(submission).stem
figure = froc_figure({name: result.curve}, labels={name: f"{name}, CPM {result.cpm:.3f}"})
save_figure(figure, Path(out) / "froc")
figure

# %% [markdown]
# Dots are the seven rates that the CPM averages; the band is a bootstrap of whole scans (95 %).
# With few scans it is wide, and the curve says little about the next scans. The sensitivity is
# that of the annotated nodules of 3 mm and more that three of four readers marked: what fewer
# readers marked is ignored, neither right nor wrong.
#
# ## Nodules missed
#
# All of them, the largest first. A nodule is missed where no mark lies within its radius; a mark
# just outside counts as a false positive *and* leaves the nodule missed.

# %%
missed = result.missed.sort_values("diameter_mm", ascending=False, ignore_index=True)
missed.to_csv(Path(out) / "missed.csv", index=False)
missed.assign(scan_id="…" + missed["scan_id"].str[-12:]).round(1)

# %% [markdown]
# ## The highest false positives
#
# These cost most: they stand before every nodule with a lower score. Look at them before you call
# them wrong. Some are nodules that nobody annotated.

# %%
false = result.false_marks
false.to_csv(Path(out) / "false_positives.csv", index=False)
false.assign(scan_id="…" + false["scan_id"].str[-12:]).head(10).round(3)

# %% [markdown]
# ## Looking at them
#
# Axial slices through the point, lung window; the bar has its length written on it. Scans are
# opened only here, and only those that are shown.

# %%
from nodulenet.plots import montage_figure

spacing_mm = 0.5
pixels = round(side_mm / spacing_mm)


def pictures(rows, caption):
    rows = rows[rows["scan_id"].isin(paths)].head(most_shown)
    if rows.empty:
        return "nothing to show: no scans, or none of these lies in one of them"
    patches = [
        extract_patch(
            open_ct(paths[row.scan_id]),
            (row.x_lps_mm, row.y_lps_mm, row.z_lps_mm),
            (pixels, pixels),
            (spacing_mm, spacing_mm, 1.0),
            form="2d",
        )
        for row in rows.itertuples()
    ]
    captions = [caption(row) for row in rows.itertuples()]
    return montage_figure(patches, captions=captions, spacings_mm=(spacing_mm, spacing_mm))


# %%
figure = pictures(missed, lambda row: f"missed, {row.diameter_mm:.1f} mm")
if not isinstance(figure, str):
    save_figure(figure, Path(out) / "missed_patches")
figure

# %%
figure = pictures(false, lambda row: f"false, score {row.probability:.3g}")
if not isinstance(figure, str):
    save_figure(figure, Path(out) / "false_positive_patches")
figure

# %% [markdown]
# ## What was written
#
# `froc.csv` holds the numbers of the curve; pictures have none. `nodulenet froc` gives the same
# figures on the command line.

# %%
for path in sorted(Path(out).iterdir()):
    if path.is_file():
        print(path.name)
