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
# # Two models on the same folds
#
# Is SqueezeNodule-Net V2 better than SqueezeNet, the first version of its kind? Is either better
# than a ruler? You will get all models and baselines of a run in one figure, paired tests with
# their intervals, the AUC among nodules of the same size, the calls at one operating point, and
# what each model costs.

# %% tags=["parameters"]
out = "runs/notebooks/04_compare_models"  # figures and tables
run = ""  # a run directory, e.g. "runs/lidc_2d"; "" for phantom data, runs/demo_quick
model = ""  # the model in question; "" for the run's first network
reference = ""  # the one that all are set against; "" for the run's second network
margin = 0.05  # a loss of AUC that would still be accepted: stated before the data are seen
bootstraps = 2000  # resamples of the patients

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
import json
from pathlib import Path

import pandas as pd

from nodulenet.config.load import load_config
from nodulenet.evaluation import read_predictions
from nodulenet.evaluation.comparison_tables import compare_sources, flat_comparisons
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots import difference_figure, interval_figure, roc_figure, save_figure
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
metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
predictions = read_predictions(folder / "predictions.csv")
outer = predictions[predictions["split"] == "outer"]
data = metrics["data"]
print(f"{data['findings']} findings, {data['positives']} of them positive")
print(f"{data['patients']} patients in {len(data['folds'])} folds")
print(f"probability {metrics['label']['probability_of']}")

# %% [markdown]
# ## 1. Can they be compared?
#
# In pairs only where all models answered about the same findings, in the same folds.

# %%
folds = outer.pivot_table(index="finding_id", columns="model", values="fold")
same = folds.notna().all(axis=1) & (folds.nunique(axis=1) == 1)
print(f"{same.sum()} of {len(folds)} findings: all {folds.shape[1]} models, in the same fold")

kinds = {name: facts["kind"] for name, facts in metrics["models"].items()}
networks = [name for name, kind in kinds.items() if kind == "network" and "+" not in name]
model = model or next(name for name in [*networks, *kinds] if name != reference)
reference = reference or next(name for name in [*networks, *kinds] if name != model)
print(f"in question: {model}, against {reference}")

# %% [markdown]
# ## 2. All models, and what needs no model

# %%
overview = pd.DataFrame(metrics["overview"]["rows"])
overview.to_csv(out / "overview.csv", index=False)
rows = overview[["model", "auc", "auc_low", "auc_high"]].itertuples(index=False, name=None)
no_network = overview.loc[~overview["kind"].isin(["network", "stack"]), "model"]
figure = interval_figure(list(rows), x_label="AUC, out of fold", muted=list(no_network))
save_figure(figure, out / "auc")
figure

# %% [markdown]
# Dots are AUCs over all held-out findings, lines their 95 % intervals when whole patients are drawn
# again and again. Grey: logistic models of the size or of a few grey values, trained on the same
# folds, and `acquisition`, the scanner's settings alone, which should lie at 0.5: if those predict
# the label, the data give it away.
#
# Overlapping lines do **not** say that two models are alike: they answered about the same patients,
# so their difference is known better than either AUC. That is the next figure.

# %% [markdown]
# ## 3. Differences, in pairs

# %%
compared = compare_sources([folder], reference=reference, margin=margin, n_bootstrap=bootstraps)
figure = difference_figure(compared["comparisons"])
save_figure(figure, out / "difference")
figure

# %%
table = flat_comparisons(compared["comparisons"])
table.to_csv(out / "comparison.csv", index=False)


def p_text(p):
    return "-" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


shown = table[table["available"]].set_index("first").rename_axis("model")
limits = shown[["patient_bootstrap_low", "patient_bootstrap_high"]].astype(float)
shown = pd.DataFrame(
    {
        "difference": shown["difference"].map("{:+.3f}".format),
        "95 % interval": limits.apply(lambda row: "{:+.3f} to {:+.3f}".format(*row), axis=1),
        "p": shown["bootstrap_p_value"].map(p_text),
        "p (Holm)": shown["bootstrap_p_holm"].map(p_text),
        "DeLong p": shown["delong_p_value"].map(p_text),
        "non-inferior": shown["non_inferior"].map({True: "shown", False: "not shown"}),
    }
)
print(f"AUC minus that of {reference}; margin {margin}")
shown

# %% [markdown]
# Above 0: better than the reference. `p` is of the paired bootstrap of patients and the one to
# trust where patients have several findings; `p (Holm)` is corrected for all comparisons of the
# table; DeLong's test is what papers quote and takes findings as independent. *Non-inferior* means
# that a loss of more than the margin is ruled out.
#
# A large p does **not** show that two models are equal: few patients give wide intervals. To claim
# that, state a margin beforehand and read the last column. And on phantom scans nothing here says
# anything about patients.

# %%
curves, labels = {}, {}
for name in (model, reference):
    mine = outer[outer["model"] == name]
    curves[name] = roc_curve(mine["label"], mine["probability"])
    labels[name] = f"{name}: {metrics['models'][name]['pooled']['auc']['value']:.3f}"
figure = roc_figure(curves, labels=labels)
save_figure(figure, out / "roc")
figure

# %% [markdown]
# ## 4. Fold by fold

# %%
each = {
    name: {f"fold {row['fold']}": row["auc"] for row in facts["folds"]}
    for name, facts in metrics["models"].items()
}
pd.DataFrame(each).T.astype(float).round(3)

# %% [markdown]
# How much single folds differ, from one group of patients to another. This spread is no confidence
# interval, and a t-test over folds is not valid: their training data overlap.

# %% [markdown]
# ## 5. Among nodules of the same size
#
# Large nodules are called malignant more often, so that a model which only measures looks good.
# This AUC counts only pairs of a positive and a negative whose diameters differ by no more than the
# caliper.

# %%
size = metrics["size_only"]
if size["available"]:
    print(f"caliper: a factor of {metrics['settings']['size_caliper']}")
    matched = overview[["model", "size_matched_auc", "size_matched_low", "size_matched_high"]]
    known = matched.dropna().itertuples(index=False, name=None)
    figure = interval_figure(list(known), x_label="AUC, same size", muted=list(no_network))
    save_figure(figure, out / "size_matched")
else:
    figure = None
    print(f"not available: {size['why']}")
figure

# %% [markdown]
# Where there is a figure: what lies to the right of `diameter_mm alone` is knowledge beyond the
# size. The size itself is not at 0.5, since the caliper leaves it some room.

# %% [markdown]
# ## 6. At one operating point
#
# Calls at a threshold that each fold's inner rows chose. `only ...` counts the findings that one of
# the two gets right and the other does not: all that McNemar's test looks at.

# %%
pair = next(row for row in compared["comparisons"] if row["first"] == model)
point, rows = pair["mcnemar"], {}
for measure in ("sensitivity", "specificity") if point["available"] else ():
    rows[measure] = {
        model: point[measure]["first"],
        reference: point[measure]["second"],
        f"only {model}": point[measure]["first_only"],
        f"only {reference}": point[measure]["second_only"],
        "McNemar p": point[measure]["p_value"],
    }
print(f"threshold: {point['operating_point']}")
pd.DataFrame(rows).T.round(3)

# %% [markdown]
# ## 7. What they cost

# %%
costs = ["parameters", "multiply_accumulates", "patches_per_s", "minutes"]
cost = overview.set_index("model")[costs].astype(float).dropna(how="all")
cost["multiply_accumulates"] /= 1e6
cost["parameters"] /= 1e3
cost.columns = ["parameters (thousands)", "multiply-adds (millions)", "patches a second", "minutes"]
cost.round(1)

# %% [markdown]
# Weights, work for one patch, speed of answering and time of training on the machine of the run.
# Speeds of two machines cannot be compared.
#
# **For the paper**: `overview.csv` and `comparison.csv` in the folder of this notebook hold all
# numbers, each figure has its own files, and `methods.md` of the run says how they were made.
