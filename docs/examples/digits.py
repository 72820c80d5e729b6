"""A sweep in a notebook: what `make demo` has made, from its tables and from every single answer.

Run it after `make demo`, in the same folder: `.venv/bin/python docs/examples/digits.py`. Jupytext and VS Code open it
as a notebook. `docs/examples/notebook_page.py` keeps what it prints in `docs/notebook.md`.
"""
# ruff: noqa: N816 - the names of arrays carry their dimensions

# %% [markdown]
# ## Open a sweep
# A store, or the sweep file that was launched into it.

# %%
import numpy as np
import polars as pl
from matplotlib.figure import Figure

import overlap

pl.Config(
    tbl_formatting="NOTHING", tbl_cols=-1, tbl_rows=20, fmt_str_lengths=36, tbl_width_chars=150, float_precision=3
)
pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True)

sweep = overlap.open("runs/digits")
print(sweep)
print(sweep.status().counts)

# %% [markdown]
# ## Variants
# The best and the worst, with 95 % intervals.

# %%
variants = sweep.variants().sort("accuracy", descending=True, maintain_order=True)
shown = variants.select("name", "train_on", "accuracy", "accuracy_low", "accuracy_high")
print(pl.concat([shown.head(3), shown.tail(3)]))

# %% [markdown]
# ## Pairs
# The most and the least alike, by the correlation of their errors.

# %%
pairs = sweep.pairs().drop_nulls("error_correlation").sort("error_correlation", descending=True, maintain_order=True)
alike = pairs.select("a", "b", "category", "error_correlation", "error_inconsistency")
print(pl.concat([alike.head(3), alike.tail(3)]))

# %% [markdown]
# ## Categories
# How two variants differ, and how much their errors then do. The intervals resample variants and examples.

# %%
means = sweep.categories().filter(pl.col("metric") == "error_inconsistency")
print(means.select("category", "pairs", "mean", "low", "high"))

# %% [markdown]
# ## Ensembles of two
# What the best pairs make together, and how much better that is than the better of the two.

# %%
ensembles = sweep.ensembles(rule="mean_probability").sort("accuracy", descending=True, maintain_order=True)
print(ensembles.select("a", "b", "accuracy", "gain").head(5))

# %% [markdown]
# ## A greedy ensemble
# With options it is computed here, and the stored path stays. Half of the examples choose, the other half judges.

# %%
path = sweep.greedy(steps=5, stop_early=True)
print(path.select("step", "variant", "selection_accuracy", "evaluation_accuracy", "evaluation_low", "evaluation_high"))

# %% [markdown]
# ## From single answers: the hardest classes
# `correct()` has a row an example and a column a variant.

# %%
correct = sweep.correct()
right = correct.select("label", share=pl.mean_horizontal(pl.exclude("example", "label")))
hardest = right.group_by("label").agg(
    accuracy=pl.col("share").mean(), never_right=(pl.col("share") == 0).sum(), examples=pl.len()
)
print(hardest.sort("accuracy", "label"))

# %% [markdown]
# ## Who disagrees most on one class
# The same as arrays: V variants, N examples. On which pairs of variants is most often just one right about an 8?

# %%
outcomes = sweep.outcomes()
eights_N = outcomes.labels_N == 8
correct_VN = outcomes.correct_VN[:, eights_N].astype(np.int64)
right_V = correct_VN.sum(axis=1)
disagreement_VV = right_V[:, None] + right_V - 2 * correct_VN @ correct_VN.T
a_P, b_P = np.triu_indices(len(outcomes.names), k=1)
for p in np.argsort(-disagreement_VV[a_P, b_P], kind="stable")[:3]:
    a, b = a_P[p], b_P[p]
    print(f"{disagreement_VV[a, b]} of {eights_N.sum()}: {outcomes.names[a]} and {outcomes.names[b]}")

# %% [markdown]
# What do they take an 8 for?

# %%
wrong = outcomes.predictions_VN[:, eights_N][correct_VN == 0]
classes, counts = np.unique(wrong, return_counts=True)
for c in np.argsort(-counts, kind="stable")[:3]:
    print(f"{outcomes.class_names[classes[c]]}: {counts[c]} of {wrong.size} wrong answers")

# %% [markdown]
# ## A figure
# Accuracy by class: a dot a variant, its color what it was trained on.

# %%
trained_on = np.array([variant.train_on for variant in outcomes.variants])
figure = Figure(figsize=(8, 3.6), layout="constrained")
axes = figure.subplots()
for color, name in zip(("#1f5f8b", "#cc6677", "#ddcc77"), dict.fromkeys(trained_on), strict=False):
    answers_VN = outcomes.correct_VN[trained_on == name]
    for c in range(len(outcomes.class_names)):
        accuracy_V = answers_VN[:, outcomes.labels_N == c].mean(axis=1)
        aside_V = np.linspace(-0.3, 0.3, len(accuracy_V))
        axes.plot(
            c + aside_V, 100 * accuracy_V, ".", color=color, alpha=0.6, label=f"trained on {name}" if c == 0 else None
        )
axes.set(
    xticks=range(len(outcomes.class_names)), xticklabels=outcomes.class_names, ylabel="accuracy (%)", xlabel="class"
)
figure.legend(loc="outside upper left", ncols=3, frameon=False)
figure.savefig("accuracy-by-class.png", dpi=120)

# %% [markdown]
# ## Into a paper
# A table as LaTeX or Markdown; `sweep.export("for-the-paper")` writes all of them, and the figures of the report.

# %%
print(overlap.latex_table(means.drop("metric", "undefined"), digits=3))
