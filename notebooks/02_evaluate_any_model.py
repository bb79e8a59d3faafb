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
# # Evaluate any model
#
# From a table of predictions, yours or anybody's, to the figures and the table of a paper: ROC
# with DeLong and patient bootstrap, calibration, operating points, decision curve, subgroups, the
# size of the nodule as the rival to beat, and readers beside the models. No scan and no network is
# needed.
#
# **You need** a CSV with a row a prediction: a label (0 or 1) and a probability (0 to 1). A
# patient, a diameter, several models and readers' ratings are used where they are there. Write the
# path and the names of your columns into the next cell and run all. Research use only.

# %% tags=["parameters"]
predictions = ""  # path of your CSV; "" for a made-up table
columns = {  # our name -> the name in your table; leave out what you do not have
    "label": "cancer",  # 0 or 1
    "probability": "score",  # 0 to 1, of label 1
    "patient_id": "subject",  # findings of one patient are kept together
    "finding_id": "lesion",
    "model": "system",  # several models below each other
    "split": "part",  # "outer": evaluated, "inner": thresholds may be chosen on it
    "diameter_mm": "size_mm",
}
positive_called = "cancer"  # what label 1 is
readers = ["reader_1", "reader_2", "reader_3"]  # columns with ratings; [] for none
reader_positive_from = 4  # a reader's rating that counts as "positive"
sensitivity_wanted = 0.9  # the operating point, chosen on inner rows ...
threshold_stated = 0.5  # ... or, where there are none, this threshold
prevalence = 0.0  # of the population you have in mind; 0: as in the table
highest_threshold = 0.6  # of the decision curve: beyond it nobody would wait
resamples = 2000  # of whole patients
seed = 0
out = "runs/notebooks/02_evaluate_any_model"

# %%
from pathlib import Path

from nodulenet.phantom import phantom_predictions

source = predictions or phantom_predictions(seed=seed)
called = Path(predictions).name if predictions else "the made-up table"
print(
    f"Your own data: {called}."
    if predictions
    else "Simulated data: a made-up table of two systems and three readers; no patient is in it."
)

# %% [markdown]
# ## The table
#
# Columns are renamed by the mapping above; everything is checked, and what is absent and was filled
# in is listed. Nothing is guessed.

# %%
from nodulenet.evaluation import read_predictions

table = read_predictions(source, source_name=called, columns=columns)
for note in table.attrs["notes"]:
    print("note:", note)
for name in [name for name in readers if name not in table.columns]:
    print(f"note: there is no column {name!r} (parameter readers); it is left out")
table.head(4)

# %% [markdown]
# A wrong name is told in one line, the same as on the command line, with the names that were found.
# On the made-up table, a mistake on purpose:

# %%
from nodulenet.errors import NoduleNetError

if not predictions:
    try:
        read_predictions(source, source_name=called, columns=columns | {"probability": "scroe"})
    except NoduleNetError as error:
        print("error:", error)

# %% [markdown]
# ## All numbers at once
#
# `summarize` is what `nodulenet evaluate` runs. Intervals come from resampling whole patients;
# DeLong's, beside it, takes findings as independent and is then often too narrow.

# %%
from nodulenet.evaluation import EvaluateConfig, summarize

settings = EvaluateConfig(
    bootstraps=resamples,
    operating_points=[{"kind": "sensitivity", "target": sensitivity_wanted}],
    prevalences=[prevalence] if prevalence else [],
)
metrics = summarize(table, settings, seed=seed)
data = metrics["data"]
print(
    f"{data['findings']} findings of {data['patients']} patients, {data['positives']} of them "
    f"{positive_called}; {data['inner_rows']} inner rows."
)

# %%
import pandas as pd


def limits(interval, digits=3):
    low, high = interval["low"], interval["high"]
    return "-" if low is None else f"{low:.{digits}f} to {high:.{digits}f}"


def p_value(p):
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


aucs = {name: result["pooled"]["auc"] for name, result in metrics["models"].items()}
if metrics["size_only"]["available"]:
    aucs["diameter alone"] = metrics["size_only"]["auc"]
pd.DataFrame(
    {
        "AUC": {name: f"{auc['value']:.3f}" for name, auc in aucs.items()},
        "patient bootstrap": {n: limits(a["patient_bootstrap"]) for n, a in aucs.items()},
        "DeLong": {n: limits(a["delong"]) for n, a in aucs.items()},
    }
)

# %% [markdown]
# ## ROC, with the readers
#
# Each curve is a model on the outer rows; grey is the diameter alone. Black points are readers, who
# call a finding positive from the rating named above. A reader above a curve is better than the
# model at that reader's own specificity; whether by more than chance is tested further down.

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["svg"]
from nodulenet.evaluation.confusion import confusion
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots import OperatingMark, roc_figure, save_figure

outer = table[table["split"] == "outer"]
by_model = dict(list(outer.groupby("model", sort=False)))
findings = outer.drop_duplicates("finding_id")
sized = findings[findings["diameter_mm"] > 0] if "diameter alone" in aucs else findings[:0]

# %%
curves = {name: roc_curve(rows["label"], rows["probability"]) for name, rows in by_model.items()}
if len(sized):
    curves["diameter alone"] = roc_curve(sized["label"], sized["diameter_mm"])
present = [reader for reader in readers if reader in findings.columns]
marks = []
for reader in present:
    rated = findings[findings[reader].notna()]
    counts = confusion(rated["label"], rated[reader], reader_positive_from)
    if None not in (counts.specificity, counts.sensitivity):  # both classes were rated
        marks.append(OperatingMark(1 - counts.specificity, counts.sensitivity, reader))
figure = roc_figure(
    curves,
    labels={name: f"{name} (AUC {aucs[name]['value']:.3f})" for name in curves},
    others=marks,
    muted=["diameter alone"],
)
save_figure(figure, Path(out) / "roc")
figure

# %% [markdown]
# `save_figure` wrote three files: `roc.svg` for the journal, `roc.png` for slides, and `roc.csv`
# with every number that is drawn.

# %%
drawn = pd.read_csv(Path(out) / "roc.csv")
drawn.groupby(["series", "kind"], sort=False)[["x", "y"]].agg(["size", "min", "max"])

# %% [markdown]
# ## Models, readers and the size against each other
#
# On the same findings: difference of the AUCs, with the paired patient bootstrap and DeLong's p.
# Readers enter with all their ratings, so this does not depend on where they draw the line. An
# interval that holds 0 does not show that two are equal. For a full analysis of several readers as
# a sample of all readers, see notebook 07.

# %%
from nodulenet.evaluation.compare import auc_difference

first = next(iter(by_model))
wide = findings.set_index("finding_id")
scores = {
    name: rows.drop_duplicates("finding_id").set_index("finding_id")["probability"]
    for name, rows in by_model.items()
}
scores |= {reader: wide[reader] for reader in present}
if len(sized):
    scores["diameter alone"] = sized.set_index("finding_id")["diameter_mm"]

# %%
rows = []
for name, score in scores.items():
    if name == first:
        continue
    both = scores[first].to_frame("first").join(score.rename("second")).dropna()
    truth = wide.loc[both.index]
    result = auc_difference(
        truth["label"],
        both["first"],
        both["second"],
        truth["patient_id"],
        n_bootstrap=resamples,
        seed=seed,
    )
    rows.append(
        {
            "comparison": f"{first} minus {name}",
            "AUC difference": f"{result.difference:+.3f}",
            "patient bootstrap": limits(result.bootstrap.to_dict()),
            "bootstrap p": p_value(result.bootstrap_p_value),
            "DeLong p": p_value(result.p_value),
        }
    )
differences = pd.DataFrame(rows)
differences

# %% [markdown]
# ## Calibration
#
# Of the findings given 70 %, are 70 % positive? Points on the dotted line say yes. A curve below it
# on the right is too sure of itself. Where inner rows are there, the report of `nodulenet evaluate`
# shows the same after recalibration.

# %%
from nodulenet.evaluation.calibration import reliability_bins
from nodulenet.plots import calibration_figure

bins = {
    name: reliability_bins(rows["label"], rows["probability"]) for name, rows in by_model.items()
}
figure = calibration_figure(bins, of=positive_called)
save_figure(figure, Path(out) / "calibration")
figure

# %%
measures = {name: result["calibration"] for name, result in metrics["models"].items()}
pd.DataFrame(
    {
        "Brier": {name: m["brier"] for name, m in measures.items()},
        "calibration error (ECE)": {name: m["ece"] for name, m in measures.items()},
        "slope (1 is right)": {name: m["slope"] for name, m in measures.items()},
        "intercept (0 is right)": {name: m["intercept"] for name, m in measures.items()},
    }
).round(3)

# %% [markdown]
# ## Operating points
#
# A threshold chosen on the rows that it is reported on flatters. It comes from the inner rows
# (other patients), fold by fold, where the table has them; otherwise it is the one stated above,
# and nobody chose it on data.

# %%
points = []
for name, rows in by_model.items():
    point = metrics["models"][name]["operating_points"][0]
    if point["kind"] == "fixed":
        counts = confusion(rows["label"], rows["probability"], threshold_stated)
        stated = {"chosen_on": "stated", "thresholds": {"all": threshold_stated}}
        point = stated | counts.to_dict()
    values = ", ".join(f"{threshold:.3f}" for threshold in point["thresholds"].values())
    row = {"model": name, "threshold": values, "chosen on": point["chosen_on"]}
    for measure in ("sensitivity", "specificity", "ppv", "npv"):
        found = point[measure]
        known = found["value"] is not None
        row[measure] = f"{found['value']:.3f} ({limits(found['interval'])})" if known else "-"
    points.append(row)
operating = pd.DataFrame(points).set_index("model")
operating.T

# %% [markdown]
# Intervals are Wilson's, which take findings as independent. PPV and NPV hold at the prevalence of
# these rows; at another one, stated above, `metrics["models"][NAME]["operating_points"]` has them.
#
# ## Decision curve
#
# Who works up a finding from a probability of 10 % on accepts nine false alarms for a cancer found.
# In that currency the curve counts what a model is worth at each such threshold, against working up
# everything and nothing (Vickers and Elkin 2006). Only thresholds that somebody would hold matter;
# where a curve lies below "call all positive" or zero, the model does harm there. The diameter
# becomes a probability by a logistic fit on the inner rows, and is left out where there are none.

# %%
import numpy as np
from sklearn.linear_model import LogisticRegression

from nodulenet.evaluation import decision_curve
from nodulenet.evaluation.prevalence import rebased
from nodulenet.plots import decision_curve_figure

wanted = {
    "thresholds": np.arange(1, round(100 * highest_threshold) + 1) / 100,
    "prevalence": prevalence or None,
    "n_bootstrap": resamples,
    "seed": seed,
}


def benefit(rows, probabilities):
    # At another prevalence the probabilities have to be those of that prevalence, too.
    if prevalence:
        share = rows["label"].astype(float).mean()
        probabilities = rebased(probabilities, trained=share, wanted=prevalence)
    return decision_curve(rows["label"], probabilities, rows["patient_id"], **wanted)


decisions = {name: benefit(rows, rows["probability"]) for name, rows in by_model.items()}

# %%
by_size = []
for fold, rows in sized.groupby("fold"):
    inner = table[(table["split"] == "inner") & (table["fold"] == fold)]
    inner = inner[inner["diameter_mm"] > 0].drop_duplicates("finding_id")
    if inner["label"].nunique() == 2:
        fit = LogisticRegression().fit(np.log(inner[["diameter_mm"]]), inner["label"])
        by_size.append(rows.assign(by_size=fit.predict_proba(np.log(rows[["diameter_mm"]]))[:, 1]))
by_size = pd.concat(by_size) if by_size else findings[:0]

# %%
if len(by_size) == len(findings):  # else it would be of other findings than the models
    decisions["diameter alone"] = benefit(by_size, by_size["by_size"])
figure = decision_curve_figure(decisions, muted=["diameter alone"])
save_figure(figure, Path(out) / "decision_curve")
figure

# %% [markdown]
# The band is the 95 % interval of the first model, at each threshold by itself. `gain` is its net
# benefit above the better of the two simple rules, from the same resamples:

# %%
shown = decisions[first].table().set_index("threshold").iloc[4::10]
shown[["alarms_for_a_miss", "net_benefit", "treat_all", "gain", "gain_low", "gain_high"]].round(3)

# %% [markdown]
# ## Subgroups
#
# Each group by itself, the diameter alone beside it. Hollow points are small groups; the dashed
# lines are all findings. Groups differ by chance too: read the intervals, not the order.

# %%
from nodulenet.plots import forest_figure

available = [column for column in metrics["subgroups"] if column["available"]]
if available:
    overall = {name: auc["value"] for name, auc in aucs.items()}
    figure = forest_figure(
        available, models=list(by_model), overall=overall, size_name="diameter alone"
    )
    save_figure(figure, Path(out) / "subgroups")
else:
    figure = "no column that groups findings"
figure

# %% [markdown]
# ## The table for the paper

# %%
paper = pd.DataFrame(
    {
        "AUC (95 % interval)": {
            name: f"{auc['value']:.3f} ({limits(auc['patient_bootstrap'])})"
            for name, auc in aucs.items()
        }
    }
)
paper = paper.join(operating[["threshold", "sensitivity", "specificity"]])
paper["Brier"] = pd.Series({name: f"{m['brier']:.3f}" for name, m in measures.items()})
paper = paper.fillna("-").rename_axis("score")
paper.to_csv(Path(out) / "table.csv")
differences.to_csv(Path(out) / "differences.csv", index=False)
paper.T

# %% [markdown]
# AUC: patient bootstrap. Sensitivity and specificity: outer rows, Wilson. A whole report as one
# page comes from `nodulenet evaluate your.csv --column label=cancer --column probability=score`.

# %%
for path in sorted(Path(out).iterdir()):
    print(path.name)
