"""Captions of classes, and their tokens."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from open_clip import SimpleTokenizer

TEMPLATES = (
    "a photo of the {}.",
    "a photo of a {}.",
    "a picture of the {}.",
    "a drawing of the {}.",
    "a blurry photo of the {}.",
    "a close-up photo of the {}.",
    "an image that shows the {}.",
)


def captions_of(class_name: str) -> list[str]:
    """A class in the words of every template; a name of digits is called a digit or a number.

    >>> captions_of("7")[0], captions_of("red_fox")[1]
    ('a photo of the digit 7.', 'a photo of a red fox.')
    """
    noun = class_name.replace("_", " ")
    if noun.isdigit():
        noun = f"{'digit' if len(noun) == 1 else 'number'} {noun}"
    return [template.format(noun) for template in TEMPLATES]


def caption_tokens(class_names: Sequence[str]) -> NDArray[np.int64]:
    """(classes, templates, length) tokens of the captions, padded with 0.

    CLIP's byte-pair tokens, numbered anew from 1: a text tower needs to know only those that occur.
    """
    tokenizer = SimpleTokenizer()
    encoded = [tokenizer.encode(caption) for name in class_names for caption in captions_of(name)]
    padded = np.full((len(encoded), max(map(len, encoded))), -1)
    for row, tokens in zip(padded, encoded, strict=True):
        row[: len(tokens)] = tokens
    _, numbers = np.unique(np.append(padded, -1), return_inverse=True)  # the appended -1 makes padding 0
    return numbers[:-1].reshape(len(class_names), len(TEMPLATES), -1).astype(np.int64)
