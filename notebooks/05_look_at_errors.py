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
# # Looking at errors
#
# A number says how often a model errs, not where. You will get the worst false alarms and the worst
# misses of a run as pictures, a map of what one of them rests on, and the scan round it to move
# through.

# %% tags=["parameters"]
out = "runs/notebooks/05_look_at_errors"  # figures and tables
run = ""  # a run directory, e.g. "runs/lidc_2d"; "" for phantom data, runs/demo_quick
model = ""  # whose errors; "" for the run's first network
method = "occlusion"  # of the map; or "grad-cam"
finding = ""  # which finding gets a map and its scan; "" for the worst error
count = 12  # pictures of errors
scan = ""  # the scan of that finding; "" where the run tells it

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
from pathlib import Path

import pandas as pd

from nodulenet.config.load import load_config
from nodulenet.config.meaning import MEANINGS
from nodulenet.evaluation import read_predictions
from nodulenet.patches.store import find_store
from nodulenet.plots import save_figure
from nodulenet.training.run import Run
from nodulenet.workflow import run as run_all

out = Path(out)
out.mkdir(parents=True, exist_ok=True)
folder = Path(run or load_config("demo_quick").run)
print(f"Data: {'the run' if run else 'a run on phantom scans, no real patient:'} {folder}")

# %% [markdown]
# Where the phantom run is not there yet, it is trained now, which takes a minute or two; in a
# terminal that is `nodulenet run demo_quick`.

# %%
if not run and not (folder / "metrics.json").is_file():
    run_all(load_config("demo_quick"))
config = Run.open(folder).config
store = find_store(config.store_path)
predictions = read_predictions(folder / "predictions.csv")
outer = predictions[predictions["split"] == "outer"]
model = model or outer["model"].iloc[0]
negative, positive = MEANINGS[config.label_meaning].class_names
mine = outer[outer["model"] == model]
called = mine["probability"] >= 0.5
print(f"{model} at 0.5, out of fold:")
pd.crosstab(
    mine["label"].map({0: negative, 1: positive}).rename("truth"),
    called.map({False: negative, True: positive}).rename("called"),
)

# %% [markdown]
# ## 1. The worst errors
#
# The most confident ones first, false alarms and misses in turn, and one of each patient before a
# second of the same. All were predicted by a model that had not seen the patient.

# %%
from nodulenet.report.gallery import gallery_figure, select_gallery
from nodulenet.report.run_gallery import run_gallery

errors = select_gallery(predictions, model, mistakes=count, successes=0)
columns = ["finding_id", "patient_id", "label", "probability", "diameter_mm", "fold"]
errors = errors[[name for name in columns if name in errors.columns]]
errors.to_csv(out / "errors.csv", index=False)
errors.set_index("finding_id").round(3).head(6)

# %%
items = run_gallery(folder, model, predictions, store, mistakes=count, successes=0)
figure = gallery_figure(items, (negative, positive))
save_figure(figure, out / "worst_errors")
figure

# %% [markdown]
# Above each picture: the truth, and the probability of the positive class. Questions worth asking:
# are the misses all small, at the pleura, ground-glass? Are the false alarms vessels cut across? Is
# the truth right?
#
# What this does **not** show: how frequent an error is. The worst are not the typical ones; counts
# stand in the table above and in the report's subgroups.

# %%
successes = run_gallery(folder, model, predictions, store, mistakes=0, successes=6)
figure = gallery_figure(successes, (negative, positive))
save_figure(figure, out / "successes")
figure

# %% [markdown]
# For comparison, typical successes.

# %% [markdown]
# ## 2. What one of them rests on
#
# Occlusion covers parts of the patch one after the other and draws the fall of the answer where the
# cover lay. The networks asked are those of the fold that held this patient out.

# %%
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.explain.held_out import held_out_maps
from nodulenet.plots.explanation import explained_planes, explanation_figure
from nodulenet.report.run_gallery import patch_without_margin

chosen = mine.set_index("finding_id").loc[finding or errors["finding_id"].iloc[0]]
bundle = Bundle(folder)
fold = {chosen.name: int(chosen["fold"])}
maps = held_out_maps(bundle, bundle.model(model), store, fold, method=method)
explanation = dict(maps)[chosen.name]

place = store.index["finding_id"].tolist().index(chosen.name)
planes = explained_planes(
    patch_without_margin(store, place),
    explanation.scaled,
    store.spec.spacing_xyz_mm,
    kind="planes" if store.spec.orthogonal_planes else "body",
)
figure = explanation_figure(
    planes,
    title=f"{chosen.name}: {(negative, positive)[chosen['label']]}, "
    f"probability of “{positive}” {chosen['probability']:.2f}",
    says=[f"{explanation.what}.", *(f"Note: {note}." for note in explanation.notes)],
    positive=positive,
    strongest=abs(explanation.values).max(),
    unit="fall of the probability" if method == "occlusion" else "log-odds a cell",
)
save_figure(figure, out / "map")
figure

# %% [markdown]
# Orange speaks for the positive class, blue against it. A map shows what the model reacted to, not
# what is there, and one map proves nothing: ask whether it would look the same if the model were
# wrong for another reason. `nodulenet explain` compares it with the map of random weights, too.

# %% [markdown]
# ## 3. The scan around it
#
# In a running notebook the slider moves through the slices, and plane, window and finding can be
# chosen; in an exported one stands the picture that it opens with. `mm` are LPS, as in the tables.

# %%
from nodulenet.ct import CTVolume, open_ct
from nodulenet.notebook import browse_slices
from nodulenet.phantom import make_scan

root = getattr(config.source, "root", None)
name = str(chosen.get("scan_id", ""))
found = next(Path(root).rglob(f"{name}.mhd"), None) if root and name else None
place = "x_lps_mm", "y_lps_mm", "z_lps_mm"
if scan or found:
    volume = open_ct(scan or found)
    points, names = [[chosen[axis] for axis in place]], [chosen.name]
else:
    print("The scan of this finding is not on this disk; below is a phantom scan instead.")
    made = make_scan(seed=1, index=0)
    volume = CTVolume.from_array(made.hu, made.spacing_mm, made.origin_lps_mm, made.direction)
    points = [nodule.centre_mm for nodule in made.nodules]
    names = [f"phantom nodule {number + 1}" for number in range(len(points))]
browser = browse_slices(volume, points, names=names)
browser

# %%
save_figure(browser.figure(), out / "slice")
print(f"the slice that is shown now is saved as {out / 'slice'}.png")

# %% [markdown]
# `browse_slices("folder_or_file", points)` does the same with any scan that the package reads.
