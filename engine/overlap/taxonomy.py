"""How a pretrained weight was trained, read off its name by the rules of `taxonomy.yaml`."""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

RULES = "taxonomy.yaml"
LIBRARIES = ("timm", "open_clip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """How a weight was trained, in the words of `taxonomy.yaml`.

    `train_on` names the data of every stage in order, joined by ` > `, so that weights with and without
    fine-tuning differ; ` + ` joins what was used at once.
    """

    framework: str
    train_on: str

    @property
    def last_stage(self) -> str:
        """The data that the weight saw last."""
        return self.train_on.rpartition(" > ")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The lineage of all weights whose full name one of the globs matches."""

    globs: tuple[str, ...]
    lineage: Lineage
    elsewhere: bool
    pattern: re.Pattern[str]


@lru_cache(maxsize=1)
def rules() -> Mapping[str, Sequence[Rule]]:
    """The rules of each library, in the order in which they are tried."""
    text = resources.files("overlap").joinpath(RULES).read_text(encoding="utf-8")
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe either way
    return {library: [_rule(**entry) for entry in content[library]] for library in LIBRARIES}


def classify(library: str, name: str) -> Lineage | None:
    """The lineage of a pretrained weight: that of the first rule that matches, None if none does.

    >>> classify("timm", "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k")
    Lineage(framework='clip', train_on='laion-2b > imagenet-12k > imagenet-1k')

    Args:
        library: timm or open_clip.
        name: `architecture.tag` of timm, `architecture/tag` of open_clip.
    """
    return next((rule.lineage for rule in rules()[library] if rule.pattern.match(name)), None)


def frameworks() -> list[str]:
    """Every framework that a rule names, sorted."""
    return sorted({rule.lineage.framework for library in LIBRARIES for rule in rules()[library]})


def unknown_line(library: str, name: str) -> str:
    """The line of a sweep file's `pretrained` that classifies a weight which no rule knows.

    >>> unknown_line("timm", "resnet50.new_in1k")
    '- {timm: ["resnet50.new_in1k"], framework: FRAMEWORK, train_on: DATA}  # such as: supervised, imagenet-1k'
    """
    entry = f"{{{library}: [{json.dumps(name)}], framework: FRAMEWORK, train_on: DATA}}"
    return f"- {entry}  # such as: supervised, imagenet-1k"


def _rule(*, match: list[str], framework: str, train_on: str, elsewhere: bool = False) -> Rule:
    return Rule(
        globs=tuple(match),
        lineage=Lineage(framework=framework, train_on=train_on),
        elsewhere=elsewhere,
        pattern=re.compile("|".join(fnmatch.translate(glob) for glob in match)),
    )
