"""Hyperparameters: their ranges, their words, and what is said of a value that does not fit."""

import math

import pytest

from overlap.recipes import RECIPES, ChoiceKnob, Knob


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, ""),
        (3.0, ""),
        (1, ""),
        (9, ""),
        (10, "expected a whole number from 1 to 9, got 10"),
        (3.5, "expected a whole number, got 3.5"),
        ("3", "expected a whole number, got '3'"),
        (True, "expected a whole number, got True"),
        (math.nan, "expected a whole number, got nan"),
    ],
)
def test_a_number_is_checked(value, problem):
    assert Knob(default=2, low=1, high=9).problem(value) == problem


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("sgd", ""),
        ("adamx", "expected one of adamw, sgd, got 'adamx'; did you mean 'adamw'?"),
        ("rmsprop", "expected one of adamw, sgd, got 'rmsprop'"),
        (0.1, "expected one of adamw, sgd, got 0.1"),
        (True, "expected one of adamw, sgd, got True"),
    ],
)
def test_a_word_is_checked(value, problem):
    assert ChoiceKnob(default="adamw", choices=("adamw", "sgd")).problem(value) == problem


@pytest.mark.parametrize("framework", RECIPES)
def test_every_default_is_a_value_that_its_knob_takes(framework):
    for name, knob in RECIPES[framework].knobs.items():
        assert knob.problem(knob.default) == "", name


def test_the_hyperparameters_that_the_paper_varies_are_there():
    assert {
        "dropout",
        "drop_path",
        "learning_rate",
        "weight_decay",
        "augmentation",
        "label_smoothing",
        "initialization",
        "optimizer",
    } <= set(RECIPES["supervised"].knobs)
