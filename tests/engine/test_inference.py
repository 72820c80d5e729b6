"""Images through a network: every row once, in its place, the same bits whichever chunk comes first."""

import numpy as np
import pytest
import torch
from torch import nn

from overlap.inference import CPU_BATCH_PIXELS, Device, Network, run_network
from overlap.variants import Evaluation, Preprocessing

PREPROCESSING = Preprocessing(size=8)


class Chunked:
    """Random pixels in chunks of ten rows, which come in a given order."""

    def __init__(self, order, rows=35):
        self.values = np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 3), dtype=np.uint8)
        self.shape = self.values.shape
        self.order = order

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return self.values[rows]

    def chunks(self):
        for chunk in self.order:
            part = self.values[10 * chunk : 10 * chunk + 10]
            part.flags.writeable = False
            yield 10 * chunk, part


class Watched(nn.Module):
    """A linear network that remembers how many images each of its batches had."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3 * 8 * 8, 5)
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return self.layer(images.flatten(1))


def run(order=(0, 1, 2, 3), *, batch_size=1024, **evaluation):
    module = Watched()
    network = Network(infer=lambda x: (module(x), x.mean(dim=(2, 3))), module=module, preprocessing=PREPROCESSING)
    device = Device(torch=torch.device("cpu"), threads=1, batch_size=batch_size)
    outputs, used = run_network(network, Chunked(order), device, Evaluation(**evaluation))
    return outputs, used, module


def test_every_row_is_in_its_place_and_normalised():
    (logits, means), _, module = run()
    pixels = torch.from_numpy(Chunked(()).values.copy()).permute(0, 3, 1, 2).float() / 255
    images = (pixels - 0.5) / 0.5
    np.testing.assert_allclose(means, images.mean(dim=(2, 3)).numpy(), atol=1e-6)
    np.testing.assert_allclose(logits, module.layer(images.flatten(1)).detach().numpy(), atol=1e-5)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (2, 0, 3, 1)])
def test_the_bits_do_not_depend_on_which_chunk_comes_first(order):
    for first, second in zip(run()[0], run(order)[0], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("limit", "used"), [(1, 1), (3, 2), (4, 4), (7, 4), (1024, 1024)])
def test_a_batch_is_a_power_of_two_and_never_crosses_a_chunk(limit, used):
    _, batch_size, module = run(batch_size=limit)
    assert batch_size == used
    assert sum(module.batches) == 35
    whole = [10, 10, 10, 5]
    assert module.batches == [min(used, rows - i) for rows in whole for i in range(0, rows, used)]


def test_larger_images_come_in_smaller_batches():
    class Large(Chunked):
        def __init__(self):
            super().__init__((), rows=0)
            self.shape = (0, 448, 448, 3)

    network = Network(infer=lambda x: (x,), module=nn.Identity(), preprocessing=PREPROCESSING)
    device = Device(torch=torch.device("cpu"), threads=1, batch_size=1024)
    _, used = run_network(network, Large(), device, Evaluation())
    assert used == CPU_BATCH_PIXELS // 448**2 == 2


def test_half_precision_computes_in_half_precision_and_gives_float32():
    (full, _), _, _ = run()
    (half, _), _, _ = run(precision="bfloat16")
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(full, half, atol=0.05)


def test_a_network_in_training_mode_is_put_into_evaluation_mode():
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(192, 2)).train()
    network = Network(infer=lambda x: (module(x),), module=module, preprocessing=PREPROCESSING)
    device = Device(torch=torch.device("cpu"), threads=1, batch_size=64)
    (first,), _ = run_network(network, Chunked((0, 1, 2, 3)), device, Evaluation())
    (second,), _ = run_network(network, Chunked((0, 1, 2, 3)), device, Evaluation())
    np.testing.assert_array_equal(first, second)


def test_a_network_that_loses_images_is_refused():
    network = Network(infer=lambda x: (x[1:].mean(dim=(2, 3)),), module=nn.Identity(), preprocessing=PREPROCESSING)
    device = Device(torch=torch.device("cpu"), threads=1, batch_size=64)
    with pytest.raises(ValueError, match="expected outputs for 10 images, got 9"):
        run_network(network, Chunked((0, 1)), device, Evaluation())
