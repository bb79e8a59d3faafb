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
# # Readers, and the model among them
#
# How far do readers agree on a nodule, and where does a model stand among them? You will get the
# agreement of readers with its intervals, each reader against the consensus of the *others* with
# the model beside it on the same nodules, two figures for a paper, and tables that iMRMC and
# MRMCaov read.

# %% tags=["parameters"]
out = "runs/notebooks/07_readers"  # figures and tables
ratings = ""  # CSV with finding_id, patient_id and ratings 1 to 5, e.g. findings.csv of a run
readers = ""  # its columns that hold the readers, with commas between; empty: found by name
lidc_xml = ""  # without such a CSV: folder of the reader files of LIDC-IDRI; empty: simulated
lidc_scans = ""  # geometry table of their scans; empty: scans.csv in that folder
predictions = ""  # predictions.csv of a model, with the same finding_id; empty: the diameter
model = ""  # which model in it; empty: the only one
truth = ""  # column of a truth that does not come from these readers (0 or 1); empty: none
cut = 4  # from this rating on a reader calls a nodule malignant
bootstraps = 2000  # resamples of the patients
seed = 0

# %%
# %matplotlib inline
# %config InlineBackend.figure_formats = ["retina"]
from pathlib import Path
from textwrap import fill

import pandas as pd

from nodulenet.evaluation import (
    agreement_table,
    finding_scores,
    finding_values,
    model_against_readers,
    mrmc_table,
    read_predictions,
    read_ratings,
    reader_agreement,
    reader_consensus,
    write_imrmc,
    write_mrmcaov,
)
from nodulenet.findings.lidc import lidc_nodules
from nodulenet.phantom import simulated_readings
from nodulenet.plots import agreement_figure, readers_figure, save_figure

out = Path(out)
out.mkdir(parents=True, exist_ok=True)
if ratings:
    source = ratings
    data = f"the ratings in {Path(ratings).name}"
elif lidc_xml:
    source = lidc_nodules(lidc_xml, scans=lidc_scans or Path(lidc_xml) / "scans.csv").table
    data = "LIDC-IDRI's reader files: real nodules, opinions of radiologists"
else:
    source, truth = simulated_readings(seed=seed), "label"
    readers = ", ".join(name for name in source.columns if name.startswith("reader_"))
    data = "SIMULATED readers of simulated nodules, no person and no patient"
print(f"Data: {data}")

# %%
columns = [name.strip() for name in readers.split(",") if name.strip()]
study = read_ratings(source, readers=columns or None)
table = pd.read_csv(ratings, dtype={"finding_id": str}) if ratings else source
if predictions:
    scores = finding_scores(read_predictions(predictions), model or None)
    name = model or "model"
    print(f"Score: {name}, out-of-fold predictions")
else:
    scores = finding_values(table, "diameter_mm")
    name = "diameter alone"
    print("Score: the diameter. No model was given, so the size stands in for it.")
for note in study.notes:
    print(fill(f"Note: {note}", 90))

# %% [markdown]
# A rating that was not given is left empty and counted, never filled in.

# %%
counts = study.counts()
print(f"{counts['findings']} nodules of {counts['patients']} patients")
print(f"{counts['ratings']} ratings, {counts['missing']} not given")
print(f"nodules by number of ratings: {counts['findings_by_ratings']}")

# %% [markdown]
# ## 1. Do readers agree?
#
# Kappa and alpha are 0 where readers agree as chance would and 1 where they always do. On an
# ordered scale a difference of one step weighs little and one of four steps much. Alpha takes all
# readers at once and allows for missing ratings. Intervals draw whole patients.

# %%
agreement = reader_agreement(study, n_bootstrap=bootstraps, seed=seed)
agreed = agreement_table(agreement)
agreed.to_csv(out / "agreement.csv", index=False)
agreed.head(4).round(3)

# %% [markdown]
# The same figures for each two readers are in `agreement.csv`. Of the nodules that one reading gave
# the rating on the left, what did another reading give?

# %%
figure = agreement_figure(agreement)
save_figure(figure, out / "agreement_of_two")
figure

# %% [markdown]
# ## 2. Each reader, with the model alongside
#
# A reader who is measured against a consensus that holds his or her own vote is helped by it. So
# for each reader the truth is the median of the **others**: up to 2 benign, from 4 on malignant. In
# between they do not know, and the nodule is left out. The model stands before the same truth on
# the same nodules; the difference is taken in pairs, model minus reader.

# %%
comparison = model_against_readers(study, scores, cut=cut, n_bootstrap=bootstraps, seed=seed)
results = comparison.table().set_index("reader").convert_dtypes()
results.to_csv(out / "readers.csv")
shown = ["reader_auc", "model_auc", "difference", "difference_low", "difference_high", "p_value"]
results[shown].rename_axis(None).round(3)

# %% [markdown]
# Ratings that could not be judged, and why:

# %%
comparison.left_out

# %% [markdown]
# The points are the readers who call a nodule malignant from the cut on; the curves take all
# ratings together.

# %%
figure = readers_figure(comparison, model=name)
save_figure(figure, out / "model_and_readers")
figure

# %% [markdown]
# Sensitivity and specificity of each reader at the cut, and the model's AUC with this reader's own
# ratings as the truth (3 left out):

# %%
each = ["findings", "sensitivity", "specificity", "model_auc_own", "own_findings"]
results.loc[study.readers, each].rename_axis(None).round(3)

# %%
for note in comparison.notes[len(study.notes) :]:
    print(fill(f"Note: {note}", 90))

# %% [markdown]
# A model that learned what readers agreed on predicts that agreement. To come out above a single
# reader then means to be nearer to the other readers, not nearer to the patient's disease: for that
# the truth has to be pathology or follow-up.
#
# ## 3. Tables for iMRMC and MRMCaov
#
# The intervals above hold for these readers. To say something of readers at large they have to be
# a random factor, too; these two programs do that. Both want readers who are persons, and a truth
# that is not theirs.

# %%
known = finding_values(table, truth) if truth else reader_consensus(study)["label"]
rows = mrmc_table(study, known, scores=scores, model=name, slots_as_readers=not study.persons)
for path in (write_mrmcaov(out / "mrmcaov.csv", rows), write_imrmc(out / "readers.imrmc", rows)):
    print(f"written: {path.name}")
if not truth:
    print("Their truth is these readers' own consensus: they show the format, no more.")
if not study.persons:
    print("Their readers are reading slots, no persons: an analysis would not be valid.")
rows.head(3)

# %% [markdown]
# In R, with MRMCaov: `mrmc(empirical_auc(truth, rating), treatment, reader, case, data =
# read.csv("mrmcaov.csv"))`; with iMRMC: `doAUCmrmc("readers.imrmc")`. What each column means is in
# `docs/readers.md`.
