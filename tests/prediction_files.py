"""Files of predictions in every format, for the tests of their import."""

import json

import numpy as np
import polars as pl

from overlap.outcomes import read_outcomes

EXAMPLES, CLASSES = 12, 4
LABELS = np.arange(EXAMPLES) % CLASSES


def logits_of(seed):
    return np.random.default_rng(seed).normal(0, 2, (EXAMPLES, CLASSES)).astype(np.float32)


def softmax(logits_NC):
    wide_NC = np.exp(logits_NC.astype(np.float64))
    return wide_NC / wide_NC.sum(axis=1, keepdims=True)


def columns_of(seed=0, kind="logits"):
    """The arrays of a file with outputs of one kind."""
    logits_NC = logits_of(seed)
    order_NC = np.argsort(-logits_NC, axis=1)
    columns = {"example": np.arange(EXAMPLES) * 3 + 1, "label": LABELS}
    if kind == "logits":
        return columns | {"logits": logits_NC}
    if kind == "probabilities":
        return columns | {"probabilities": softmax(logits_NC)}
    if kind == "prediction":
        return columns | {"prediction": order_NC[:, 0]}
    top_NK = np.take_along_axis(softmax(logits_NC), order_NC, axis=1)[:, :2]
    return columns | {"top_classes": order_NC[:, :2], "top_probabilities": top_NK}


def write_parquet(path, columns):
    lists = {name: values.tolist() for name, values in columns.items() if np.ndim(values) == 2}
    pl.DataFrame({**columns, **lists}).write_parquet(path)


def write_json_csv(path, columns):
    lists = {
        name: [json.dumps(row.tolist()) for row in values] for name, values in columns.items() if np.ndim(values) == 2
    }
    pl.DataFrame({**columns, **lists}).write_csv(path)


def write_numbered_csv(path, columns):
    flat = {}
    for name, values in columns.items():
        flat |= (
            {f"{name}_{i}": values[:, i] for i in range(values.shape[1])} if np.ndim(values) == 2 else {name: values}
        )
    pl.DataFrame(flat).write_csv(path)


def write_npz(path, columns):
    np.savez(path, **columns)


WRITERS = {
    "parquet": ("parquet", write_parquet),
    "json": ("csv", write_json_csv),
    "numbered": ("csv", write_numbered_csv),
    "npz": ("npz", write_npz),
}


def result_of(store, name, dataset="val"):
    key = store.require_lock().results[dataset][name]
    return store.read(store.result_names(dataset)[key[:16]])


def outcomes_of(store, dataset="val"):
    return read_outcomes(store, store.require_lock(), dataset)


def changed(**changes):
    """A change of one cell of a file's columns: column=(row, value)."""

    def change(columns):
        copy = {name: values.copy() for name, values in columns.items()}
        for name, (row, value) in changes.items():
            copy[name][row] = value
        return copy

    return change
