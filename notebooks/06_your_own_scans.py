# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own scans
#
# From an export folder to a finding sheet: the list of its series, the positions of nodules from a
# table or from 3D Slicer, a look at each patch before anything is computed, calibrated
# probabilities by a trained bundle, and the sheet that a colleague can read.

# %% tags=["parameters"]
out = "runs/notebooks/06_your_own_scans"  # figures, tables and the sheet
scans = ""  # the export: a folder of DICOM, NIfTI, MetaImage; "" for phantom data, made here
points = ""  # positions: CSV, 3D Slicer markups (.mrk.json, .fcsv), mask; "" for phantom data
space = ""  # of a CSV: "lps", "ras" or "voxel"; "" for lps. Other files say it
patient = ""  # whose scan, as in the list below; "" for the first that has a chosen series
series = ""  # SeriesInstanceUID; "" for the thinnest axial one with a soft kernel
bundle = ""  # a run or a bundle that answers; "" for phantom data: runs/demo_quick
operating_point = ""  # by which a call is made, e.g. "sensitivity 0.95"; "" for the bundle's first
most = 6  # how many patches are shown in three planes
saliency = False  # whether the sheet shows what the answers rest on; takes seconds a finding

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display

from nodulenet.config.load import load_config
from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import UsageError
from nodulenet.phantom import generate_phantom
from nodulenet.plots import planes_figure, save_figure, slice_at, slice_figure
from nodulenet.workflow import run as run_all

out = Path(out)
real = bool(scans)
if real and not (points and bundle):
    raise UsageError(
        "parameters: scans also needs points and a bundle trained on real scans; give both "
        "(runs/demo_quick as bundle only to try: it knows phantoms)"
    )
print(f"Data: {scans if real else 'two phantom scans written as DICOM, no real patient'}.")

# %%
if not real:
    phantom = generate_phantom(out / "phantom", scans=2, seed=1000, formats=["dicom"])
    scans = phantom.path / "dicom"
    series = series or phantom.series_uids[0]
    truth = pd.read_csv(phantom.nodules).query("seriesuid == @series")
    names = {"coordX": "x_lps_mm", "coordY": "y_lps_mm", "coordZ": "z_lps_mm"}
    points = out / "points.csv"
    truth["finding_id"] = [f"nodule-{number + 1}" for number in range(len(truth))]
    columns = ["finding_id", *names.values(), "diameter_mm"]
    truth.rename(columns=names)[columns].to_csv(points, index=False)
if not bundle:
    bundle = load_config("demo_quick").run
    if not (bundle / "bundle.json").is_file():
        run_all(load_config("demo_quick"))

# %% [markdown]
# ## 1. What is in the folder?
#
# By headers alone. A series that cannot be used says why: scouts, gaps between slices, a tilted
# gantry, two series in one. The rule takes the thinnest axial series with a soft kernel of each
# study; `why` says what speaks against another, and the parameter `series` overrules it. Patients
# get pseudonyms by a key that lies on this machine only.

# %%
from nodulenet.config.series_choice import SeriesChoice
from nodulenet.ct.inventory import take_inventory
from nodulenet.findings.scan_table import scan_rows, write_scan_table
from nodulenet.findings.series_choice import choose_series

inventory = take_inventory(scans)
table = choose_series(scan_rows(inventory), SeriesChoice(), [series] if series else [])
write_scan_table(table, out / "scans.csv")
print(f"{inventory.files} files, {len(table)} series, {(table['chosen'] == 'yes').sum()} chosen")
columns = ["patient_id", "description", "kernel", "slices", "slice_spacing_mm", "chosen"]
shown = table[columns].assign(why=table["why"].where(table["usable"], table["verdict"]))
with pd.option_context("display.max_colwidth", 120):
    display(shown.astype({"slices": "Int64"}).round(2))

# %%
here = table[(table["chosen"] == "yes") & (table["patient_id"].eq(patient) | (patient == ""))]
if series:
    here = here[here["series_uid"] == series]
if here.empty:
    raise UsageError(
        f"patient {patient!r}, series {series!r}: none is chosen of these; take one of the list"
    )
row = here.iloc[0]
volume = open_ct(row["path"], series_uid=row["series_uid"])
x, y, z = volume.spacing_mm
print(f"opened: patient {row['patient_id']}, series {row['series_uid']}")
print(f"{volume.shape[0]} slices, {x:.2f} x {y:.2f} x {z:.2f} mm, {volume.format}")
for text in volume.warnings:
    print(f"note: {text}")

# %% [markdown]
# ## 2. The positions
#
# Positions become LPS millimetres whatever they are given in: Slicer's files say their space
# themselves, and a CSV has columns such as `x_lps_mm, y_lps_mm, z_lps_mm`, or `x, y, z` with
# `space` above. A table for many scans names them in a column `scan_id` or `series_uid`.

# %%
from nodulenet.findings.point_files import read_points_file
from nodulenet.findings.points import points_of_scan, scan_names

read = read_points_file(points, space=space or None, volume=volume)
findings = points_of_scan(read.table, scan_names(Path(row["path"]), row["series_uid"]), str(points))
findings = findings.reset_index(drop=True)
places = findings[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy(dtype=float)
for text in read.notes:
    print(f"note: {text}")
findings.round(1).head(10)

# %% [markdown]
# **When something is wrong** it is said in one line, as on the command line. For example:
#
# - `points.csv: all 2 points lie outside the scan ...; with the signs of x and y turned 2 of 2 lie
#   inside, so it is probably RAS: declare the space as ras`: give `space` above.
# - `points.csv: column 'scan_id' names no point of the scan ...`: they are of another scan.
# - `...: holds 3 CT series, expected one; choose ...`: give `series` above.
#
# The dangerous mistake is the one that gives no error: left and right exchanged lies inside the
# scan as well. Hence the next look.

# %% [markdown]
# ## 3. Look before you compute
#
# Each patch in three planes, through the point. Is there a nodule in the middle, on the side where
# the report says it is?

# %%
names = findings["finding_id"].tolist()
figure = slice_figure(volume, slice_at(volume, places[0]), points_lps_mm=places, names=names)
save_figure(figure, out / "scan")
figure

# %%
for number, name in enumerate(names[:most]):
    patch = extract_patch(volume, places[number], size=(50, 50, 50), spacing_mm=(1, 1, 1))
    where = ", ".join(f"{value:.1f}" for value in places[number])
    figure = planes_figure(patch, (1, 1, 1), title=f"{name} at ({where}) mm LPS")
    save_figure(figure, out / f"patch-{number + 1}")
    display(figure)

# %% [markdown]
# ## 4. The answers

# %%
from nodulenet.inference.answering import Answering
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import classify

opened = Bundle(bundle)
known = findings.drop(columns=["finding_id", "x_lps_mm", "y_lps_mm", "z_lps_mm"])
answers = classify(
    volume,
    places,
    opened,
    finding_ids=names,
    findings=known,
    answering=Answering(operating_point=operating_point or None),
)
print(answers.meaning)
point = answers.operating_point
if point is not None:
    print(f"call at {point.threshold:.2f} or above: {answers.class_names[1]} ({point.name})")
for text in answers.warnings:
    print(f"note: {text}")
for failure in answers.failures:
    print(f"not answered: {failure['what']}: {failure['error']}")
columns = ["probability", "fold_low", "fold_high", "call", "conformal"]
table = answers.table.set_index("finding_id")
for name, text in table["warnings"].items():
    for doubt in filter(None, text.split("; ")):
        print(f"{name}: {doubt}")
table[[name for name in columns if name in table.columns]].round(3)

# %% [markdown]
# `fold_low` and `fold_high` are the range over the models of the folds. `call` depends on the
# threshold of the operating point, which need not be 0.5. `conformal` may say `indeterminate`,
# which is an answer, too. Warnings are doubts: a patch or a size unlike those of the training, a
# place outside the scan, a scanner that was not seen.
#
# **What it does not mean**: the probability is of what the bundle's labels say, at the share of
# positives that it was trained with. It is no diagnosis, and a bundle trained on phantom scans
# knows nothing of real ones.

# %% [markdown]
# ## 5. The finding sheet

# %%
from html import escape

from nodulenet.inference.explain.scan_maps import scan_maps
from nodulenet.inference.outputs.formats import chosen_formats, write_outputs
from nodulenet.inference.outputs.sources import Sources

maps = scan_maps(answers, volume, opened) if saliency else {}
sources = Sources(volume=volume, saliency=maps)
written = write_outputs(answers, out / "sheet", chosen_formats("sheet,csv"), sources)
for file in written.files:
    print(file)
page = next(file for file in written.files if file.suffix == ".html").read_text(encoding="utf-8")
HTML(f'<div><iframe srcdoc="{escape(page)}" width="100%" height="900"></iframe></div>')

# %% [markdown]
# The page above is `finding-sheet.html` as it lies in that folder, with a PDF beside it. With
# `nodulenet classify --formats` the same answers become a DICOM Structured Report, a secondary
# capture for the PACS, or markups for 3D Slicer. For research use only.
