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
# # The first hour
#
# From scans to an honest result, in about two minutes on two cores, without data of your own: you
# will look at a scan and at the patches that a model sees, train a small model on two folds of
# patients, read its out-of-fold ROC curve with an interval, open its report, and ask it about a
# scan that it has never seen.

# %% tags=["parameters"]
out = "runs/notebooks/01_first_hour"  # everything that this notebook writes lies here
run = ""  # a finished run on phantom scans, to skip the training; "" to train here
scans = 16  # synthetic chest CTs to train and test on; 12 at least
epochs = 20  # passes through the training data
seed = 0  # the same seed gives the same scans and the same folds

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
import json
from pathlib import Path

import pandas as pd

from nodulenet.ct import CTVolume, extract_patch, open_ct
from nodulenet.evaluation import read_predictions
from nodulenet.phantom import generate_phantom, make_scan
from nodulenet.plots import (
    montage_figure,
    planes_figure,
    roc_figure,
    save_figure,
    slice_at,
    slice_figure,
)

out = Path(out)
print(f"Data: {scans} phantom scans (synthetic chest CT), made here; no real patient.")

# %% [markdown]
# ## 1. Scans and the truth
#
# The phantom lies on disk as the LUNA16 data set does: scans, a table of annotated nodules, a
# table of candidate positions. Positions are (x, y, z) in millimetres, DICOM's LPS: x rises to the
# patient's left, y to the back, z to the head.

# %%
phantom = generate_phantom(out / "phantom", scans=scans, seed=seed)
nodules = pd.read_csv(phantom.nodules)
columns = ["patient_id", "coordX", "coordY", "coordZ", "diameter_mm", "texture", "attachment"]
print(f"{len(phantom.series_uids)} scans, {len(nodules)} nodules")
nodules[columns].round(1).head(5)

# %%
largest = nodules.loc[nodules["diameter_mm"].idxmax()]
here = nodules[nodules["seriesuid"] == largest["seriesuid"]]
points = here[["coordX", "coordY", "coordZ"]].to_numpy()
centre = largest[["coordX", "coordY", "coordZ"]].to_numpy(dtype=float)

volume = open_ct(next(phantom.path.glob(f"subset*/{largest['seriesuid']}.mhd")))
sizes = [f"{diameter:.0f} mm" for diameter in here["diameter_mm"]]
figure = slice_figure(volume, slice_at(volume, centre), points_lps_mm=points, names=sizes)
save_figure(figure, out / "scan")
figure

# %% [markdown]
# A whole axial slice in the lung window, seen from the feet: the patient's right (R) is on the
# left. Where the table is on top, the patient lies face down. The ring is round the centre of the
# largest nodule: is it where you see one? That look is the first check with data of your own, too,
# since axes that are mixed up show here at once.

# %%
patch = extract_patch(volume, centre, size=(40, 40, 40), spacing_mm=(1, 1, 1))
figure = planes_figure(patch, (1, 1, 1), title=f"Nodule of {largest['diameter_mm']:.1f} mm")
save_figure(figure, out / "nodule")
figure

# %% [markdown]
# The same nodule in three planes, 1 mm a pixel, cut straight from the scan at its own centre.

# %% [markdown]
# ## 2. The patches that a model sees
#
# A run is described by one file. Here it is the shipped configuration `demo_quick` with a few
# values changed; in a terminal the same is `nodulenet run demo_quick train.epochs=...`.

# %%
from nodulenet.config.load import load_config
from nodulenet.patches.prepare import prepare
from nodulenet.patches.store import find_store

config = load_config(
    "demo_quick",
    [
        f"run={json.dumps(str(out / 'run'))}",
        f"source.root={json.dumps(str(out / 'phantom'))}",
        f"source.phantom.scans={scans}",
        f"source.phantom.seed={seed}",
        f"seed={seed}",
        f"train.epochs={epochs}",
        "models=[{name: squeezenodule_v2, normalization: batch}]",
    ],
)
store = find_store(run) if run else prepare(config).store
found = store.index["label"].value_counts()
print(f"{len(store)} patches: {found[1]} of nodules, {found[0]} of other candidates")

# %%
chosen = [*store.index.index[store.index["label"] == 1][:6]]
chosen += [*store.index.index[store.index["label"] == 0][:6]]
figure = montage_figure(
    list(store.patches(chosen)),
    captions=["nodule"] * 6 + ["not a nodule"] * 6,
    spacings_mm=store.spec.spacing_xyz_mm[:2],
)
save_figure(figure, out / "patches")
figure

# %% [markdown]
# One axial patch a finding is all that this small model gets. Candidates that are not nodules are
# vessels, airways and the like: the task is nodule against look-alike, **not** cancer against
# benign.

# %% [markdown]
# ## 3. Train, out of fold
#
# Patients are divided into two folds; a model is trained on one and predicts the other, and the
# other way round. So every prediction is about a patient that the model has never seen.

# %%
from nodulenet.workflow import run as run_all

folder = Path(run) if run else run_all(config).run
metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
print(f"report: {folder / 'report.html'}")

# %% [markdown]
# `report.html` is one file that opens in any browser, also offline: figures, intervals, mistakes,
# and a draft of the methods section beside it (`methods.md`).

# %% [markdown]
# ## 4. How good is it?

# %%
from nodulenet.evaluation.roc import roc_curve

predictions = read_predictions(folder / "predictions.csv")
outer = predictions[predictions["split"] == "outer"]
curves, labels = {}, {}
for model, rows in outer.groupby("model", sort=False):
    curves[model] = roc_curve(rows["label"], rows["probability"])
    auc = metrics["models"][model]["pooled"]["auc"]
    low, high = auc["patient_bootstrap"]["low"], auc["patient_bootstrap"]["high"]
    interval = "no interval" if low is None else f"{low:.2f} to {high:.2f}"
    labels[model] = f"{model}: AUC {auc['value']:.2f} ({interval})"

baselines = [name for name, facts in metrics["models"].items() if facts["kind"] != "network"]
figure = roc_figure(curves, labels=labels, muted=baselines)
save_figure(figure, out / "roc")
figure

# %% [markdown]
# **What one sees**: sensitivity against false alarms over all thresholds, with the AUC and its
# 95 % interval, for which whole patients are drawn again and again. `intensity` is a logistic model
# of a few grey values of the patch, trained on the same folds: what a network should beat.
#
# **What it means**: the network above is small and was trained for seconds, so it may well lose to
# that baseline. Such a baseline stands beside every result, so that nobody takes for skill what
# needs none.
#
# **What it does not mean**: nothing about real lungs. These are synthetic scans, and few of them:
# the interval says how much other patients of the same kind might change, no more.

# %% [markdown]
# ## 5. Ask it about a new scan
#
# The run directory answers, too. The points come from you: this program classifies positions, it
# does not look for them.

# %%
from nodulenet import classify

new = make_scan(seed=seed + 1000, index=0)
volume = CTVolume.from_array(new.hu, new.spacing_mm, new.origin_lps_mm, new.direction)
nodule, other = new.nodules[0], next(c for c in new.candidates if c.label == 0)
answers = classify(
    volume,
    [nodule.centre_mm, other.centre_mm],
    folder,
    finding_ids=["a nodule", f"a look-alike ({other.kind})"],
)
print(answers.meaning)
answers.table[["finding_id", "probability", "fold_low", "fold_high", "call"]].round(2)

# %%
figure = planes_figure(
    extract_patch(volume, nodule.centre_mm, size=(40, 40, 40), spacing_mm=(1, 1, 1)),
    (1, 1, 1),
    title=f"The nodule: probability {answers.table['probability'][0]:.2f}",
)
save_figure(figure, out / "answer")
figure

# %% [markdown]
# `fold_low` and `fold_high` are the answers of the single fold models: their spread is how much
# the training data matter, not a confidence interval. `call` is what the default operating point
# makes of the probability; its threshold was chosen on inner rows and need not be 0.5.
#
# **Next**: your own table of predictions in `02_evaluate_any_model`, two models side by side in
# `04_compare_models`, a model's mistakes in `05_look_at_errors`, your own scans in
# `06_your_own_scans`. For research use only.
