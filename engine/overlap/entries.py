"""The shape of a sweep file: its entries, as pydantic reads them at the file's boundary."""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from overlap.search_space import WORDS, Axis, Scalar, parse_axis, parse_scalar

_SCALAR_SCHEMA: dict[str, Any] = {"type": ["number", "string", "boolean"]}
_AXIS_SCHEMA: dict[str, object] = {
    "description": "a value, a list of values, or one search-space word of Ray Tune with its arguments",
    "anyOf": [
        _SCALAR_SCHEMA,
        {"type": "array", "items": _SCALAR_SCHEMA, "minItems": 1},
        {
            "type": "object",
            "properties": {word: {"type": "array", "items": _SCALAR_SCHEMA} for word in WORDS},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ],
}
_ScalarField: TypeAlias = Annotated[Scalar, BeforeValidator(parse_scalar), WithJsonSchema(_SCALAR_SCHEMA)]
_AxisField: TypeAlias = Annotated[Axis, BeforeValidator(parse_axis), WithJsonSchema(_AXIS_SCHEMA)]


# Names become parts of paths: plain characters, never `..`.
_Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9](\.?[A-Za-z0-9_-]){0,63}$")]


def _split_size(raw: object) -> object:
    if raw == "rest" or (isinstance(raw, int) and not isinstance(raw, bool) and raw > 0):
        return raw
    raise ValueError(f"expected a number of examples above 0, or 'rest', got {raw!r}")


_SPLIT_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"const": "rest"}]}
_SplitSize: TypeAlias = Annotated[int | str, BeforeValidator(_split_size), WithJsonSchema(_SPLIT_SCHEMA)]
_Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**32)]


def _channels(raw: object) -> object:
    """One number for each of three channels; one number alone stands for all three."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return (float(raw),) * 3
    return tuple(raw) if isinstance(raw, list) else raw


def _listed(raw: object) -> object:
    """One word stands for a list of one."""
    return [raw] if isinstance(raw, str) else raw


_Words: TypeAlias = Annotated[list[str], BeforeValidator(_listed)]


class Entry(BaseModel):
    """What every part of a sweep file has in common: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class DatasetEntry(Entry):
    """A labelled dataset: where its images come from, and its disjoint, seeded splits."""

    source: str = Field(
        description="a folder with one folder a class, parquet:…, webdataset:…, timm:…, sklearn:digits, rendered:digits"
    )
    splits: dict[str, _SplitSize] = Field(min_length=1)
    seed: _Seed = 0
    samples: int | None = Field(default=None, gt=0, description="how many images to draw (rendered sources)")
    classes: str = Field(default="", description="the label space that numbered classes follow, such as imagenet-1k")
    labels: Literal["", "real"] = Field(default="", description="real: ImageNet ReaL's labels instead of the folder's")
    on_bad_image: Literal["fail", "skip"] = Field(
        default="fail", description="what to do about unreadable and contradicting images, for all variants alike"
    )


_Channels: TypeAlias = Annotated[tuple[float, float, float], BeforeValidator(_channels)]


class PreprocessingEntry(Entry):
    """How an image becomes a model's input, in timm's words."""

    size: int | None = Field(default=None, ge=2, le=4096, description="pixels a side")
    crop_pct: float | None = Field(default=None, gt=0, le=2)
    crop_mode: Literal["center", "squash", "border"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None
    mean: _Channels | None = None
    std: _Channels | None = None


class ResourcesEntry(Entry):
    """What one variant gets while it is trained or evaluated; an entry of `vary` may change some of it."""

    gpus: float | None = Field(default=None, ge=0, description="may be a fraction below one; default 0")
    cpus: int | None = Field(default=None, ge=1, description="default 1")
    accelerator: str | list[str] | None = Field(default=None, description="such as A100, or a list of types")
    gpu_memory_gib: float | None = Field(default=None, gt=0, description="the GPU must have at least this much")
    market: Literal["spot", "on-demand"] | None = Field(default=None, description="default: either")
    on_demand_after_s: float | None = Field(
        default=None, ge=0, description="ask for on-demand machines when spot ones were not given for so long"
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="how long an evaluation, or an epoch of training, may take; default 3600"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.gpus and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"expected whole gpus above one, got {self.gpus:g}")
        return self


class BaseEntry(Entry):
    """The variant that every entry of `vary` changes."""

    architecture: str
    train_on: str
    framework: str = "supervised"
    seed: _Seed = 0
    hyperparameters: dict[str, _ScalarField] = {}
    preprocessing: PreprocessingEntry = PreprocessingEntry()


class VaryEntry(Entry):
    """The base with some fields changed; lists and search-space words give several variants."""

    architecture: _AxisField | None = None
    framework: _AxisField | None = None
    train_on: _AxisField | None = None
    seed: _AxisField | None = None
    hyperparameters: dict[str, _AxisField] = {}
    built_on: str | None = Field(
        default=None, description="a variant's name: a distillation's teacher, or whose embeddings an estimator gets"
    )
    preprocessing: PreprocessingEntry = PreprocessingEntry()
    samples: int | None = Field(default=None, gt=0, description="how often to draw the random fields")
    resources: ResourcesEntry = ResourcesEntry()


class PretrainedEntry(Entry):
    """Models that need no training: one of `timm`, `open_clip`, `checkpoint` and `python`."""

    timm: _Words | None = Field(default=None, description="names or globs, all, or a file of names: @names.txt")
    open_clip: _Words | None = Field(default=None, description="the same, as ViT-B-32/laion2b_s34b_b79k")
    checkpoint: str | None = Field(default=None, description="a .safetensors or .pt file")
    python: str | None = Field(default=None, description="path.py:function; needs allow_code: true")

    exclude: _Words = []
    frameworks: _Words = Field(default=[], description="only weights of these frameworks")
    licence: _Words = Field(default=[], description="only weights under these licences, as globs")
    max_parameters: float | None = Field(default=None, gt=0)
    max_gmacs: float | None = Field(default=None, gt=0)
    limit: int | None = Field(default=None, gt=0)

    weights: str = Field(default="hub", description="hub, random, or a folder or bucket of .safetensors files")
    templates: str = Field(default="imagenet", description="open_clip: imagenet, simple, plain, or a file of templates")
    texts: str | None = Field(default=None, description="open_clip: a file with a text for each class")

    architecture: str | None = Field(default=None, description="of a checkpoint")
    framework: str | None = Field(default=None, description="how it was trained, where the taxonomy cannot know")
    train_on: str | None = Field(default=None, description="on what it was trained, where the taxonomy cannot know")
    outputs: str | None = Field(default=None, description="the classes of its outputs: a dataset, or a label space")
    seed: _Seed = 0

    probe: str | None = Field(default=None, description="a dataset: a linear probe is fitted to its train split")
    hyperparameters: dict[str, _ScalarField] = Field(default={}, description="of the probe")
    preprocessing: PreprocessingEntry = PreprocessingEntry()
    resources: ResourcesEntry = ResourcesEntry()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [kind for kind in ("timm", "open_clip", "checkpoint", "python") if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of timm, open_clip, checkpoint and python, got {given or 'none'}")
        if given[0] == "checkpoint" and self.architecture is None:
            raise ValueError("a checkpoint needs its architecture")
        if given[0] in ("checkpoint", "python"):
            lacking = [key for key in ("framework", "train_on", "outputs") if getattr(self, key) is None]
            if lacking:
                raise ValueError(f"a {given[0]} needs {', '.join(lacking)}: nothing else tells what it is")
        if self.hyperparameters and self.probe is None:
            raise ValueError("hyperparameters are those of a probe: give probe, too")
        return self

    @property
    def library(self) -> str:
        """Which of the four kinds of models it names."""
        return next(kind for kind in ("timm", "open_clip", "checkpoint", "python") if getattr(self, kind) is not None)


class EvaluationEntry(Entry):
    """How variants are computed when they are evaluated."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = Field(default=False, description="torch.compile")
    embeddings: bool = Field(default=False, description="keep what each network hands to its classifier, on train too")


class SweepEntry(Entry):
    """A sweep file."""

    name: _Name
    store: str = Field(min_length=1, description="the folder that holds everything the sweep makes")
    datasets: dict[_Name, DatasetEntry] = Field(min_length=1)
    evaluate_on: list[str] = Field(min_length=1)
    base: BaseEntry | None = None
    vary: list[VaryEntry] = []
    pretrained: list[PretrainedEntry] = []
    evaluation: EvaluationEntry = EvaluationEntry()
    resources: ResourcesEntry = ResourcesEntry()
    allow_code: bool = Field(default=False, description="run the Python files that this sweep names")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.base is None and self.vary:
            raise ValueError("'vary' changes a base: give one")
        if self.base is None and not self.pretrained:
            raise ValueError("nothing to evaluate: give a base, or pretrained models")
        return self


def sweep_schema() -> dict[str, object]:
    """The JSON Schema of a sweep file, for editors and validators."""
    schema = SweepEntry.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "overlap sweep"}
