"""Safe YAML that knows the line of every key, and refuses what silently loses data."""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from overlap.errors import Problem

MAX_BYTES = 1_000_000
MAX_NODES = 100_000

Path: TypeAlias = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, reading `1e-3` as a number like YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML file's value, the line of each path in it, and what is wrong with it as YAML."""

    value: object
    lines: dict[Path, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line(self, path: Path) -> int:
        """Line of the path, or of its nearest parent that the file holds; 0 for an empty file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def load_yaml(text: str) -> Document:
    """Reads one YAML document; syntax errors and duplicate keys become problems, never exceptions."""
    if len(text.encode()) > MAX_BYTES:
        return _broken(0, f"expected at most {MAX_BYTES:,} bytes, got {len(text.encode()):,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        reader = _Reader(loader)
        value = reader.read(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _broken(mark.line + 1 if mark else 0, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        return _broken(0, f"not YAML: {str(error).splitlines()[0]}")
    except RecursionError:
        return _broken(0, "not YAML: nested too deeply, or an alias that holds itself")
    return Document(value=value, lines=reader.lines, problems=tuple(reader.problems))


def _broken(line: int, message: str) -> Document:
    return Document(value=None, problems=(Problem(line=line, where="", message=message),))


class _Reader:
    """Turns composed nodes into plain values, keeping lines and problems."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def read(self, node: yaml.Node, path: Path) -> object:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.YAMLError(f"more than {MAX_NODES:,} values: is an alias repeated?")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_scalar(self, node: yaml.Node, path: Path) -> object:
        try:
            return self.loader.construct_object(node)
        except ValueError as error:  # a date that is none, say
            problem = Problem(line=node.start_mark.line + 1, where=dotted(path), message=f"no value: {error}")
            self.problems.append(problem)
            return None

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        own = {id(key_node) for key_node, _ in node.value}
        self.loader.flatten_mapping(node)  # what `<<` merges comes first, and may be overridden
        first_lines: dict[str, int] = {}
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = str(self._read_scalar(key_node, path))
            line = key_node.start_mark.line + 1
            if key in first_lines:
                message = f"duplicate key '{key}': it is already set on line {first_lines[key]}"
                self.problems.append(Problem(line=line, where=dotted((*path, key)), message=message))
                continue
            if id(key_node) in own:
                first_lines[key] = line
            self.lines[(*path, key)] = line
            values[key] = self.read(value_node, (*path, key))
        return values


def dotted(path: Path) -> str:
    """A path as people write it: `vary[1].hyperparameters.epochs`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
