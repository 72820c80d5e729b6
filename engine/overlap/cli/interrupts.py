"""Ctrl-C, once and twice, and what else ends a launch from outside."""

import os
import signal
from types import FrameType
from typing import Self

from overlap.cli.output import print_error
from overlap.supervise import INTERRUPTED, supervisor

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Asked once, lets what runs finish; asked twice, ends the process there and then.

    Use as a context; called, it says whether somebody has asked.
    """

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """True once somebody has asked."""
        return self.asked

    def __enter__(self) -> Self:
        self.before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            if supervisor() is None:  # else that one says so
                print_error("interrupted; run the same command again to continue")
            os._exit(INTERRUPTED)
        self.asked = True
        print_error("stopping when what runs has finished; once more ends it at once")
