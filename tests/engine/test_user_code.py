"""Networks that a user's own Python function makes."""

import textwrap

import pytest
import torch

from overlap.models import build_classifier, build_embedder, file_digest
from tiny_pretrained import images_of, numbered, own_variant

CODE = """
    import dataclasses
    import torch
    from torch import nn

    @dataclasses.dataclass
    class Options:
        classes: int = 4

    def mine():
        torch.manual_seed(0)
        return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, Options().classes))

    class WithSteps(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 4)
        def forward_features(self, images):
            return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        def forward_head(self, features, pre_logits=False):
            return features if pre_logits else self.head(features)
        def forward(self, images):
            return self.forward_head(self.forward_features(images))

    def nothing():
        return None

    def broken():
        raise RuntimeError("no such weights")
"""


@pytest.fixture
def code(tmp_path):
    """A file of a user's code."""
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(CODE))
    return path


@pytest.fixture
def classifier_of(tmp_path):
    """Builds the classifier of a function."""

    def build(name, *, outputs=4, **changed):
        names = numbered(outputs)
        variant = own_variant("python", name, **changed)
        return build_classifier(variant, class_names=names[::-1], outputs=names, weights=None, cache=tmp_path)

    return build


@torch.inference_mode()
def test_a_function_gives_a_network_in_evaluation_mode(code, classifier_of):
    classifier = classifier_of(f"{code}:mine")
    assert not classifier.network.training
    assert torch.equal(classifier(images_of(8)), classifier.network(images_of(8)).flip(1))


@torch.inference_mode()
def test_a_network_with_timms_two_steps_gives_embeddings(code, classifier_of, tmp_path):
    classifier = classifier_of(f"{code}:WithSteps")
    embeddings, logits = classifier.with_embeddings(images_of(8))
    assert embeddings.shape == (3, 12)
    assert torch.equal(logits, classifier(images_of(8)))
    embedder = build_embedder(own_variant("python", f"{code}:WithSteps"), weights=None, cache=tmp_path)
    assert torch.equal(embedder(images_of(8)), embeddings)


def test_a_network_without_them_says_so(code, classifier_of):
    with pytest.raises(ValueError, match=r"a Sequential gives no embeddings: expected timm's methods"):
        classifier_of(f"{code}:mine").with_embeddings(images_of(8))


def test_another_number_of_outputs_is_told_at_the_first_image(code, classifier_of):
    with pytest.raises(ValueError, match="expected 5: say which classes they are"):
        classifier_of(f"{code}:mine", outputs=5)(images_of(8))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("{code}:absent", "has no function 'absent'"),
        ("{code}:torch", "has no function 'torch'"),
        ("{code}:nothing", "gave a NoneType; expected a torch.nn.Module"),
        ("{code}", "expected path.py:function"),
        ("{code}x:mine", "is no file of this machine"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(name, problem, code, classifier_of):
    with pytest.raises(ValueError, match=problem) as raised:
        classifier_of(name.format(code=code))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["import nothing_of_this_name", "def f(:", "raise KeyError('x')"])
def test_a_file_that_cannot_be_imported_is_told_in_one_line(text, tmp_path, classifier_of):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"broken.py' cannot be imported: \w+Error: ") as raised:
        classifier_of(f"{path}:f")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_python_is_told(tmp_path, classifier_of):
    path = tmp_path / "mine.txt"
    path.write_text("text")
    with pytest.raises(ValueError, match="expected a name that ends in"):
        classifier_of(f"{path}:f")


def test_an_error_of_the_function_is_the_users_own(code, classifier_of):
    with pytest.raises(RuntimeError, match="no such weights"):
        classifier_of(f"{code}:broken")


def test_code_that_changed_since_the_plan_is_not_run(code, classifier_of, tmp_path):
    revision = file_digest(code)
    classifier_of(f"{code}:mine", revision=revision)
    code.write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(ValueError, match="changed since the sweep was planned"):
        classifier_of(f"{code}:mine", revision=revision)
    assert not (tmp_path / "run").exists()


def test_an_edited_file_is_loaded_anew(code, classifier_of):
    classifier_of(f"{code}:mine")
    code.write_text(code.read_text().replace("classes: int = 4", "classes: int = 6"))
    assert classifier_of(f"{code}:mine", outputs=6)(images_of(8)).shape == (3, 6)
