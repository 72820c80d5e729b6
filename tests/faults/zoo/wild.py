"""Networks that misbehave, one way each: `wild_…` when they are evaluated, `wild_train_…` in training.

Otherwise they are a linear layer on pooled pixels. Each way is a function of the logits that gives
those to return, so that its name is what a trace or a breadcrumb shows.
"""

import asyncio
import ctypes
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

SIDE = 8
FITS = 64  # images a batch
PRINTED_MB = 50


class Wild(nn.Module):
    def __init__(self, classes, misbehave, *, in_training):
        super().__init__()
        self.linear = nn.Linear(SIDE * SIDE, classes)
        self.misbehave = misbehave
        self.in_training = in_training

    def forward(self, images):
        logits = self.linear(adaptive_avg_pool2d(images, SIDE).mean(dim=1).flatten(1))
        return self.misbehave(logits) if self.training is self.in_training else logits


# --- wrong outputs


def nan(logits):
    return logits * torch.nan


def inf(logits):
    return logits + torch.inf


def wrong_shape(logits):
    return torch.cat([logits, logits[:, :1]], dim=1)


def wrong_rows(logits):
    return logits[:-1]


def classes(logits):
    return logits.argmax(dim=1) - 1


def no_tensor(logits):
    return {"logits": logits}


def nothing(logits):
    return logits[:, :0]


def int_dtype(logits):
    return (logits * 100).to(torch.int64)


def half_dtype(logits):
    return logits.to(torch.bfloat16)


def constant(logits):
    return torch.zeros_like(logits)


# --- exceptions


def raises(logits):
    raise RuntimeError("this network raises")


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def unpicklable(logits):
    raise UnpicklableError


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("an exception without a text")


def unprintable(logits):
    raise UnprintableError


def surrogates(logits):
    raise RuntimeError("a file's name that is no text: \udcff")


def long_message(logits):
    raise RuntimeError("x" * 20_000_000)


def cancelled(logits):
    raise asyncio.CancelledError("no Exception, a BaseException")


def keyboard_interrupt(logits):
    raise KeyboardInterrupt


def sys_exit(logits):
    sys.exit("a library's idea of an end")


def recursion(logits):
    return recursion(logits)


def torch_oom(logits):
    if len(logits) > FITS:
        raise torch.OutOfMemoryError(f"{len(logits)} images do not fit")
    return logits


def memory_error(logits):
    raise MemoryError("never enough")


# --- ends of the process


def os_exit(logits):
    os._exit(0)


def segv(logits):
    ctypes.memset(0, 0, 1)


def abort(logits):
    os.abort()


def sigkill(logits):
    os.kill(os.getpid(), signal.SIGKILL)


# --- no ends


def hangs(logits):
    threading.Event().wait()


def hangs_in_c(logits):
    ctypes.PyDLL(None).sleep(10**6)  # and holds the interpreter's lock


# --- side effects


def prints(logits):
    line = "x" * 1023 + "\n"
    for _ in range(PRINTED_MB * 2**9):
        sys.stdout.write(line)
        sys.stderr.write(line)
    return logits


def forks(logits):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return logits


def leaves_a_child(logits):
    multiprocessing.get_context("fork").Process(target=signal.pause, daemon=True).start()
    return logits


def starts_a_thread(logits):
    threading.Thread(target=threading.Event().wait).start()
    return logits


def pollutes(logits):
    torch.set_num_threads(7)
    torch.set_default_dtype(torch.float64)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(mode=False)
    torch.backends.mkldnn.enabled = False
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - what such code does
    np.seterr(all="raise")
    random.seed(1)
    warnings.simplefilter("error")
    os.environ.update(OMP_NUM_THREADS="1", TZ="Asia/Kathmandu", LC_ALL="tr_TR.UTF-8")
    return logits


def deletes_cwd(logits):
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()
    return logits


GATE = "OVERLAP_TEST_GATE"  # a folder


def waits(logits):
    """Behaves, but only once a test has opened the gate; tells that it is there."""
    gate = Path(os.environ[GATE])
    gate.joinpath("waiting").touch()
    while not gate.joinpath("open").exists():
        time.sleep(0.02)
    return logits


WILD = (nan, inf, wrong_shape, wrong_rows, classes, no_tensor, nothing, int_dtype, half_dtype, constant, raises)
WILD += (unpicklable, unprintable, surrogates, long_message, cancelled, keyboard_interrupt, sys_exit, recursion)
WILD += (torch_oom, memory_error, os_exit, segv, abort, sigkill, hangs, hangs_in_c, prints, forks)
WILD += (leaves_a_child, starts_a_thread, pollutes, deletes_cwd, waits)
TAMED = "OVERLAP_TEST_TAMED"


def register():
    from timm.models import generate_default_cfgs, register_model

    entries = {f"wild_{way.__name__}": (way, False) for way in WILD}
    entries |= {f"wild_train_{way.__name__}": (way, True) for way in WILD}
    globals()["default_cfgs"] = generate_default_cfgs({f"{name}.untrained": {} for name in entries})
    for name, (way, in_training) in entries.items():
        register_model(_entry_point(name, way, in_training=in_training))


def _entry_point(name, way, *, in_training):
    misbehave = (lambda logits: logits) if os.environ.get(TAMED) else way

    def build(pretrained=False, *, num_classes, **_):
        return Wild(num_classes, misbehave, in_training=in_training)

    build.__name__ = name
    return build
