"""Which models the `pretrained` entries of a sweep select, each with the identity of its weights."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from overlap.entries import PretrainedEntry
from overlap.errors import Problem, StoreError
from overlap.expand import changed_preprocessing
from overlap.models import (
    CatalogEntry,
    Selection,
    file_digest,
    mirrored_name,
    open_mirror,
    select_open_clip,
    select_timm,
)
from overlap.models.weight_files import HUB, STAMP, published
from overlap.spec import Sweep
from overlap.store.objects import Objects
from overlap.taxonomy import unknown_line
from overlap.variants import RANDOM, Preprocessing, Variant, Weights, canonical_json, key_of
from overlap.yaml_lines import Path as KeyPath

IMAGENET = Preprocessing(  # what most weights expect, and timm takes for those that say nothing
    size=224,
    crop_pct=0.875,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
_PACKAGES = ("overlap", "timm", "open_clip_torch")
_TABLES = ("taxonomy.yaml", "models/sizes.csv", "models/catalog.py")
SHIPPED_TEMPLATES = frozenset({"imagenet", "simple", "plain"})


def select_pretrained(sweep: Sweep, *, cache: Path | None = None) -> tuple[list[list[Variant]], list[Problem]]:
    """The models of each entry of a sweep's `pretrained`, and what is wrong with the entries.

    It reads what checkpoints hold, and asks timm and open_clip, whose import takes seconds: what they
    answer is remembered in the `cache` folder, if there is one.
    """
    selected: list[list[Variant]] = []
    problems: list[Problem] = []
    for i, entry in enumerate(sweep.pretrained):
        models, messages = _models(entry, Path(sweep.path).absolute().parent, cache)
        selected.append(models)
        path: KeyPath = ("pretrained", i, entry.library)
        problems += [sweep.problem(path, message) for message in messages]
    return selected, problems


def _models(entry: PretrainedEntry, folder: Path, cache: Path | None) -> tuple[list[Variant], list[str]]:
    try:
        if entry.library == "checkpoint":
            return [_checkpoint(entry, folder)], []
        if entry.library == "python":
            return [_user_model(entry, folder)], []
        return _catalogued(entry, folder, cache)
    except OSError as error:
        return [], [f"cannot read '{error.filename}': {error.strerror}"]
    except (ValueError, StoreError) as error:
        return [], [str(error)]


def _catalogued(entry: PretrainedEntry, folder: Path, cache: Path | None) -> tuple[list[Variant], list[str]]:
    """The models of timm or open_clip that an entry's patterns select."""
    selection = Selection(
        patterns=tuple(_patterns(entry.timm or entry.open_clip or [], folder)),
        exclude=tuple(entry.exclude),
        frameworks=tuple(entry.frameworks),
        licences=tuple(entry.licence),
        max_parameters=entry.max_parameters,
        max_gmacs=entry.max_gmacs,
        limit=entry.limit,
    )
    found, problems = _selected(entry.library, selection, cache)
    problems += [_unknown(model.library, model.name) for model in found if not (entry.framework or model.framework)]
    oblong = "takes images that are no squares, which are not supported: exclude it"
    problems += [f"'{model.name}' {oblong}" for model in found if not model.square]
    if problems:
        return [], problems
    revisions, lacking = _revisions(entry, [(model.name, model.source) for model in found], folder)
    if lacking:
        return [], lacking
    prompts, texts = ((), ()) if entry.library == "timm" else (_prompts(entry, folder), _texts(entry, folder))

    def to_variant(model: CatalogEntry) -> Variant:
        preprocessing = Preprocessing(
            size=model.size,
            crop_pct=model.crop_pct,
            crop_mode=model.crop_mode,
            interpolation=model.interpolation,
            mean=model.mean,
            std=model.std,
        )
        weights = Weights(
            library=model.library,
            name=model.name,
            source=_source(entry.weights, folder),
            revision=revisions[model.name],
            outputs="" if model.library == "open_clip" or not model.classes else model.label_space,
            prompts=prompts,
            texts=texts,
            gmacs=model.gmacs,
        )
        return Variant(
            name=model.name,
            architecture=model.architecture,
            framework=entry.framework or model.framework,
            train_on=entry.train_on or model.train_on,
            seed=entry.seed,
            hyperparameters=(),
            preprocessing=changed_preprocessing(entry.preprocessing, preprocessing),
            weights=weights,
        )

    return [to_variant(model) for model in found], []


def _selected(library: str, selection: Selection, cache: Path | None) -> tuple[list[CatalogEntry], list[str]]:
    """What a library's catalogue answers, remembered for as long as neither it nor `overlap` changes."""
    question = canonical_json([library, asdict(selection), *map(version, _PACKAGES), _tables()])
    place = cache / "selections" / f"{key_of(question)}.json" if cache else None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        remembered = json.loads(place.read_text()) if place else None
        if remembered and remembered["sha256"] == key_of(canonical_json(remembered["entries"])):
            return [_entry(fields) for fields in remembered["entries"]], []
    found, problems = (select_timm if library == "timm" else select_open_clip)(selection)
    if place and not problems:
        entries = [asdict(entry) for entry in found]
        content = canonical_json({"entries": entries, "sha256": key_of(canonical_json(entries))})
        with contextlib.suppress(OSError, StoreError), published(place) as file:
            file.write(content.encode())
    return list(found), list(problems)


@lru_cache(maxsize=1)
def _tables() -> str:
    """The hash of what `overlap` itself knows of models."""
    files = [resources.files("overlap").joinpath(name) for name in _TABLES]
    return key_of("".join(file.read_text(encoding="utf-8") for file in files))


def _entry(fields: dict[str, Any]) -> CatalogEntry:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return CatalogEntry(**values)


def _unknown(library: str, name: str) -> str:
    return f"nothing is known of how '{name}' was trained; say so in an entry of its own: {unknown_line(library, name)}"


def _patterns(words: Sequence[str], folder: Path) -> list[str]:
    """The words, with each `@file` replaced by the names in that file, one a line, `#` for comments."""
    patterns: list[str] = []
    for word in words:
        lines = _lines(folder / word[1:]) if word.startswith("@") else [word]
        patterns += lines
    return patterns


def _lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _prompts(entry: PretrainedEntry, folder: Path) -> tuple[str, ...]:
    """The name of a shipped set of templates, or the templates of a file.

    Raises:
        ValueError: a template has no place for the text.
    """
    if entry.templates in SHIPPED_TEMPLATES:
        return (entry.templates,)
    templates = tuple(_lines(folder / entry.templates))
    without = [template for template in templates if "{}" not in template]
    if without or not templates:
        raise ValueError(f"expected one template a line with {{}} in it in '{entry.templates}', got {without[:1]}")
    return templates


def _texts(entry: PretrainedEntry, folder: Path) -> tuple[str, ...]:
    return tuple(_lines(folder / entry.texts)) if entry.texts else ()


def _source(weights: str, folder: Path) -> str:
    """Where weights are read from, a folder made absolute."""
    return weights if weights in (HUB, RANDOM) or "://" in weights else str(folder / weights)


def _revisions(
    entry: PretrainedEntry, models: Sequence[tuple[str, str]], folder: Path
) -> tuple[dict[str, str], list[str]]:
    """What identifies the bytes of each model's weights, and which weights a mirror lacks."""
    source = _source(entry.weights, folder)
    if source == RANDOM:
        return {name: RANDOM for name, _ in models}, []
    if source == HUB:
        return dict(models), []
    mirror = open_mirror(source)
    held = mirror.stamps("")
    places = {name: mirrored_name(held, name) for name, _ in models}
    lacking = [name for name, place in places.items() if place is None]
    if lacking:
        shown = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
        message = f"{len(lacking)} of {len(models)} weights are not in '{source}': {shown}; copy or exclude them"
        return {}, [message]
    return {name: _revision(mirror, place, held[place]) for name, place in places.items() if place}, []


def _revision(mirror: Objects, name: str, stamp: str) -> str:
    """The SHA-256 of a file; of an object in a bucket, the stamp that changes with its content."""
    return f"{STAMP}{stamp}" if "://" in mirror.url else file_digest(Path(mirror.url) / name)


def _checkpoint(entry: PretrainedEntry, folder: Path) -> Variant:
    path = folder / str(entry.checkpoint)
    return _own_model(entry, path, file_digest(path), path.stem, str(entry.architecture))


def _user_model(entry: PretrainedEntry, folder: Path) -> Variant:
    file, _, function = str(entry.python).partition(":")
    if not function:
        raise ValueError(f"expected path.py:function, got '{entry.python}'")
    path = folder / file
    if function not in path.read_text(encoding="utf-8"):  # it is run by workers only
        raise ValueError(f"'{path}' has no function '{function}'")
    return _own_model(entry, Path(f"{path}:{function}"), file_digest(path), function, f"{path.name}:{function}")


def _own_model(entry: PretrainedEntry, path: Path, revision: str, name: str, architecture: str) -> Variant:
    """A model that only the sweep file knows anything of."""
    weights = Weights(
        library=entry.library, name=str(path), source=str(path), revision=revision, outputs=str(entry.outputs)
    )
    return Variant(
        name=name,
        architecture=architecture,
        framework=str(entry.framework),
        train_on=str(entry.train_on),
        seed=entry.seed,
        hyperparameters=(),
        preprocessing=changed_preprocessing(entry.preprocessing, IMAGENET),
        weights=weights,
    )
