"""Images through a network: batches of a size that fits, copied ahead of the computation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from overlap.datasets.pixels import Pixels
from overlap.preprocessing import to_inputs
from overlap.variants import Evaluation, Preprocessing

CPU_BATCH_PIXELS = 8 * 224 * 224  # 32 took up to twice as long: activations leave a CPU's cache
TRIAL_BATCH = 8
SHARE_OF_FREE_MEMORY = 0.6  # of a GPU; the rest is for what other batches fragment


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a variant is computed: a torch device, its share of it, the CPU threads, the most images a batch."""

    torch: torch.device
    threads: int
    batch_size: int
    gpu_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that is ready to be computed. `infer` maps normalised images to outputs, one or more a row.

    `channels_last` lets images and weights lie as convolutions want them, up to twice as fast; it is for networks
    that are known not to mind.
    """

    infer: Callable[[Tensor], tuple[Tensor, ...]]
    module: nn.Module
    preprocessing: Preprocessing
    channels_last: bool = False


def run_network(
    network: Network, pixels: Pixels, device: Device, evaluation: Evaluation
) -> tuple[list[NDArray[np.float32]], int]:
    """Each of a network's outputs over all pixels as (N, …) float32, and the batch size that was used.

    Batches never cross a chunk of the pixels, so that the bits do not depend on which chunk came first.

    Raises:
        ValueError: the network gives more or fewer outputs than it gets images.
    """
    module = network.module.to(device.torch).eval()
    if network.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    infer = torch.compile(network.infer) if evaluation.compile else network.infer

    @torch.inference_mode()
    def compute(batch: Tensor) -> tuple[Tensor, ...]:
        with _precision(device.torch, evaluation.precision):
            outputs = infer(to_inputs(batch, network.preprocessing, channels_last=network.channels_last))
        for output in outputs:
            if len(output) != len(batch):
                raise ValueError(f"expected outputs for {len(batch)} images, got {len(output)}")
        return tuple(output.float() for output in outputs)

    batch_size = _batch_size(compute, pixels, device)
    outputs: list[NDArray[np.float32]] = []
    for first, chunk in pixels.chunks():
        parts = [compute(batch) for batch in _ahead(chunk, batch_size, device.torch)]
        for i, column in enumerate(zip(*parts, strict=True)):
            values = torch.cat(column).cpu().numpy()
            if len(outputs) <= i:
                outputs.append(np.empty((len(pixels), *values.shape[1:]), np.float32))
            outputs[i][first : first + len(values)] = values
    return outputs, batch_size


def _precision(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to a half precision; full precision is full on every device."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")


def _ahead(chunk: NDArray[np.uint8], batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """The batches of a chunk on the device; on a GPU each is copied while the one before is computed."""
    batches = (torch.from_numpy(np.array(part)) for part in _parts(chunk, batch_size))
    if device.type != "cuda":
        yield from batches
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: Tensor | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            copied = batch.pin_memory().to(device, non_blocking=True)
        if ahead is not None:
            yield _handed_over(ahead, stream, device)
        ahead = copied
    if ahead is not None:
        yield _handed_over(ahead, stream, device)


def _handed_over(batch: Tensor, stream: torch.cuda.Stream, device: torch.device) -> Tensor:
    """A batch that the computing stream may read, and that is not reused before it has."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(stream)
    batch.record_stream(current)
    return batch


def _parts(chunk: NDArray[np.uint8], batch_size: int) -> Iterator[NDArray[np.uint8]]:
    edges = [*range(0, len(chunk), batch_size), len(chunk)]
    return (chunk[start:stop] for start, stop in pairwise(edges))


def _batch_size(compute: Callable[[Tensor], object], pixels: Pixels, device: Device) -> int:
    """The largest power of two that fits: by the memory that a few images take on a GPU, by pixels on a CPU.

    Never by time, which differs from run to run: another batch size may give other bits.
    """
    _, height, width, channels = pixels.shape
    if device.torch.type != "cuda":
        return _power_of_two(min(CPU_BATCH_PIXELS / (height * width), device.batch_size))
    trial = torch.zeros((TRIAL_BATCH, height, width, channels), dtype=torch.uint8, device=device.torch)
    compute(trial)  # the first call also loads kernels and workspaces
    torch.cuda.synchronize(device.torch)
    before = torch.cuda.memory_allocated(device.torch)
    torch.cuda.reset_peak_memory_stats(device.torch)
    compute(trial)
    per_image = max(torch.cuda.max_memory_allocated(device.torch) - before, 1) / TRIAL_BATCH
    free, total = torch.cuda.mem_get_info(device.torch)
    room = SHARE_OF_FREE_MEMORY * min(free, total * device.gpu_share)
    return _power_of_two(min(room / per_image, device.batch_size))


def _power_of_two(limit: float) -> int:
    """The largest power of two that is at most a limit, and at least 1."""
    return int(2 ** math.floor(math.log2(max(limit, 1.0))))
