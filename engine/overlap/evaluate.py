"""One variant over one dataset -> predictions; torch and scikit-learn, no Ray."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor

from overlap import models
from overlap.datasets import Dataset, Split
from overlap.datasets.label_spaces import output_columns
from overlap.datasets.pixels import Pixels
from overlap.inference import Device, Network, run_network
from overlap.store import EmbeddedSplit, Predictions, round_logits
from overlap.variants import Evaluation, Variant
from overlap_analysis.calibration import fit_temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a variant says of the N examples of a split: (N, C) float32 logits and, if kept, (N, D) embeddings."""

    logits_NC: NDArray[np.float32]
    embeddings_ND: NDArray[np.float32] | None = None
    batch_size: int = 0


Predict = Callable[[Split], Outputs]
OpenPixels = Callable[[Split], Pixels]


def network_predictor(
    variant: Variant, classifier: "models.Classifier", open_pixels: OpenPixels, device: Device, evaluation: Evaluation
) -> Predict:
    """Gives the outputs of a network over a dataset's classes."""

    def infer(images: Tensor) -> tuple[Tensor, ...]:
        if not evaluation.embeddings:
            return (classifier(images),)
        embeddings, logits = classifier.with_embeddings(images)
        return logits, embeddings

    network = Network(
        infer=infer, module=classifier, preprocessing=variant.preprocessing, channels_last=_known_network(variant)
    )

    def predict(split: Split) -> Outputs:
        (logits_NC, *rest), batch_size = run_network(network, open_pixels(split), device, evaluation)
        return Outputs(logits_NC=logits_NC, embeddings_ND=rest[0] if rest else None, batch_size=batch_size)

    return predict


def pixel_features(open_pixels: OpenPixels) -> Callable[[Split], NDArray[np.float64]]:
    """Gives the (N, size · size · channels) pixels of a split in [0, 1]."""

    def features(split: Split) -> NDArray[np.float64]:
        pixels = open_pixels(split)
        return pixels[np.arange(len(pixels))].reshape(len(pixels), -1) / 255.0

    return features


def embedding_features(
    variant: Variant, embedder: "models.Embedder", open_pixels: OpenPixels, device: Device, evaluation: Evaluation
) -> Callable[[Split], NDArray[np.float64]]:
    """Gives the (N, D) embeddings of a split by a network."""
    network = Network(
        infer=lambda images: (embedder(images),),
        module=embedder,
        preprocessing=variant.preprocessing,
        channels_last=_known_network(variant),
    )

    def features(split: Split) -> NDArray[np.float64]:
        (embeddings_ND,), _ = run_network(network, open_pixels(split), device, evaluation)
        return embeddings_ND.astype(np.float64)

    return features


def _known_network(variant: Variant) -> bool:
    """True unless a user's own code may count on how tensors lie in memory."""
    return not (variant.weights and variant.weights.library == "python")


def estimator_predictor(
    variant: Variant,
    train_data: Dataset,
    features: Callable[[Split], NDArray[np.float64]],
    *,
    classes: tuple[str, ...],
    threads: int,
    evaluation: Evaluation,
) -> Predict:
    """Fits a scikit-learn classifier on the classes of `train_data`; gives its outputs over a dataset's `classes`.

    Its embeddings, if they are to be kept, are its features.
    """
    known, train = train_data.class_names, train_data.splits["train"]

    def predict(split: Split) -> Outputs:
        features_ND = features(split)
        with _thread_pools().limit(limits=threads):
            logits_NC = models.estimator_logits(estimator, features_ND, len(known))
        kept_ND = features_ND.astype(np.float32) if evaluation.embeddings else None
        return Outputs(logits_NC=logits_NC[:, output_columns(classes, known)], embeddings_ND=kept_ND)

    estimator = models.make_estimator(variant)
    train_ND = features(train)
    with _thread_pools().limit(limits=threads):
        estimator.fit(train_ND, train.labels_N)
    return predict


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """The libraries with threads of their own; finding them takes milliseconds."""
    return ThreadpoolController()


def evaluate(predict: Predict, dataset: Dataset) -> Predictions:
    """Predictions on the test split, with the temperature that fits the calibration split best.

    Where embeddings are kept, those of the train split are, too: probes are fitted to them.

    Raises:
        ValueError: the outputs are not (N, classes), or hold a NaN or +inf.
    """
    temperature = 1.0
    parts: dict[str, Outputs] = {}
    if "calibration" in dataset.splits:
        calibration = dataset.splits["calibration"]
        parts["calibration"] = predict(calibration)
        logits_NC = _checked(parts["calibration"].logits_NC, calibration, dataset)
        temperature = fit_temperature(logits_NC, calibration.labels_N)
    test = dataset.splits["test"]
    parts["test"] = predict(test)
    if parts["test"].embeddings_ND is not None and "train" in dataset.splits:
        parts = {"train": predict(dataset.splits["train"]), **parts}
    return Predictions(
        ids_N=test.ids_N,
        labels_N=test.labels_N,
        logits_NC=_checked(parts["test"].logits_NC, test, dataset),
        temperature=temperature,
        embeddings=dict(_embedded(parts, dataset)),
        batch_size=parts["test"].batch_size,
    )


def _embedded(parts: Mapping[str, Outputs], dataset: Dataset) -> Iterator[tuple[str, EmbeddedSplit]]:
    """The embeddings of each split that has some."""
    for name, outputs in parts.items():
        split = dataset.splits[name]
        if outputs.embeddings_ND is not None:
            yield name, EmbeddedSplit(ids_N=split.ids_N, labels_N=split.labels_N, values_ND=outputs.embeddings_ND)


def _checked(logits_NC: NDArray[np.float32], split: Split, dataset: Dataset) -> NDArray[np.float16]:
    expected = (len(split.labels_N), len(dataset.class_names))
    if logits_NC.shape != expected:
        raise ValueError(f"expected outputs of shape {expected}, got {logits_NC.shape}")
    return round_logits(logits_NC)
