"""One variant over one dataset -> predictions; torch and scikit-learn, no Ray."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from overlap import models
from overlap.datasets import Dataset, Split
from overlap.preprocessing import normalize, resize
from overlap.store import Predictions, round_logits
from overlap.variants import Variant
from overlap_analysis.calibration import fit_temperature


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a variant is computed: a torch device, the threads it may use, images a batch."""

    torch: torch.device
    threads: int
    batch_size: int


def network_predictor(
    variant: Variant, weights: bytes, *, classes: int, device: Device
) -> Callable[[Split], NDArray[np.float32]]:
    """Gives (N, classes) float32 logits of a split, from trained weights."""
    network = models.build_network(variant, classes=classes)
    network.load_state_dict(safetensors.torch.load(weights))
    network = network.to(device.torch).eval()

    @torch.inference_mode()
    def predict(split: Split) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(split.labels_N), device.batch_size):
            pixels = split.pixels_NHWC[start : start + device.batch_size]
            images = normalize(resize(pixels, variant.preprocessing).to(device.torch), variant.preprocessing)
            parts.append(network(images).float().cpu().numpy())
        return np.concatenate(parts)

    return predict


def estimator_predictor(
    variant: Variant, train: Split, *, classes: int, device: Device
) -> Callable[[Split], NDArray[np.float32]]:
    """Fits a scikit-learn classifier and gives (N, classes) float32 logits of a split."""

    def features(split: Split) -> NDArray[np.float64]:
        images = resize(split.pixels_NHWC, variant.preprocessing)
        return images.flatten(start_dim=1).double().numpy()

    def predict(split: Split) -> NDArray[np.float32]:
        with _thread_pools().limit(limits=device.threads):
            return models.estimator_logits(estimator, features(split), classes)

    estimator = models.make_estimator(variant)
    with _thread_pools().limit(limits=device.threads):
        estimator.fit(features(train), train.labels_N)
    return predict


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """The libraries with threads of their own; finding them takes milliseconds."""
    return ThreadpoolController()


def evaluate(predict: Callable[[Split], NDArray[np.float32]], dataset: Dataset) -> Predictions:
    """Predictions on the test split, with the temperature that fits the calibration split best.

    Raises:
        ValueError: the outputs are not (N, classes), or hold a NaN or +inf.
    """
    temperature = 1.0
    if "calibration" in dataset.splits:
        calibration = dataset.splits["calibration"]
        logits_NC = _checked(predict(calibration), calibration, dataset)
        temperature = fit_temperature(logits_NC, calibration.labels_N)
    test = dataset.splits["test"]
    return Predictions(
        ids_N=test.ids_N,
        labels_N=test.labels_N,
        logits_NC=_checked(predict(test), test, dataset),
        temperature=temperature,
    )


def _checked(logits_NC: NDArray[np.float32], split: Split, dataset: Dataset) -> NDArray[np.float16]:
    expected = (len(split.labels_N), len(dataset.class_names))
    if logits_NC.shape != expected:
        raise ValueError(f"expected outputs of shape {expected}, got {logits_NC.shape}")
    return round_logits(logits_NC)
