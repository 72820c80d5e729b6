"""Whether pretrained weights can be had: they lie in this machine's caches, or the hub gives them."""

import importlib.util
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

ADVICE = "download the weights where there is internet, and give weights: <folder>"
_TIMEOUT_S = 5.0  # for each of a host's addresses, of which there may be ten
_PATIENCE_S = 10.0
_AT_ONCE = 8
_SHOWN = 3
_DEFAULT_FILE = "open_clip_pytorch_model.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Where a weight comes from: the first of `files` that a repository of the hub has, or an address.

    `kept` is where the library keeps what it gets from an address.
    """

    name: str
    repository: str = ""
    revision: str | None = None
    files: tuple[str, ...] = ()
    url: str = ""
    kept: Path = Path()

    @property
    def host(self) -> str:
        """Who must be asked."""
        return urlsplit(constants.ENDPOINT if self.repository else self.url).netloc.rpartition("@")[2]

    @property
    def is_here(self) -> bool:
        """Whether nobody must be asked."""
        if not self.repository:
            return self.kept.is_file()
        cached = (try_to_load_from_cache(self.repository, file, revision=self.revision) for file in self.files)
        return any(isinstance(path, str) for path in cached)


class _UnreachableError(Exception):
    """Nobody answers at a host."""


def hub_problems(names: Iterable[tuple[str, str]]) -> list[str]:
    """What stands in the way of weights that are to come from the hub, a line each; one for all if it is away.

    Args:
        names: (library, name) of weights of timm and open_clip.

    Returns:
        Nothing if all are in a cache of this machine or answered for by who gives them. Weights are not
        downloaded. Without internet it takes as long as the machine needs to know that, about 10 s at worst.
    """
    missing = [download for download in (_download(*name) for name in dict.fromkeys(names)) if not download.is_here]
    hosts: dict[str, list[Download]] = {}
    for download in missing:
        hosts.setdefault(download.host, []).append(download)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = dict(zip(hosts, pool.map(_host_problems, hosts.values()), strict=True))
    away = {host: answer for host, answer in answers.items() if isinstance(answer, _UnreachableError)}
    told = [problem for answer in answers.values() if not isinstance(answer, _UnreachableError) for problem in answer]
    return ([_away_problem(away, [d for host in away for d in hosts[host]])] if away else []) + told


def _away_problem(away: Mapping[str, _UnreachableError], downloads: Sequence[Download]) -> str:
    """One line about all hosts that do not answer."""
    hub = urlsplit(constants.ENDPOINT).netloc.rpartition("@")[2]
    who = " and ".join("the hub" if host == hub else f"'{host}'" for host in away)
    names = ", ".join(download.name for download in downloads[:_SHOWN])
    shown = f"{names} …" if len(downloads) > _SHOWN else names
    return f"{who} cannot be reached ({next(iter(away.values()))}) for {len(downloads)} weights ({shown}): {ADVICE}"


def tokenizer_problems(architectures: Iterable[str]) -> list[str]:
    """What keeps texts for these models of open_clip from being read: one line for all, nothing if all is there."""
    if importlib.util.find_spec("transformers"):
        return []
    lacking = [architecture for architecture in dict.fromkeys(architectures) if _needs_transformers(architecture)]
    if not lacking:
        return []
    shown = ", ".join(lacking[:_SHOWN]) + (" …" if len(lacking) > _SHOWN else "")
    return [f"the texts of {len(lacking)} models ({shown}) need the package transformers: install overlap[texts]"]


def _needs_transformers(architecture: str) -> bool:
    import open_clip

    config = open_clip.get_model_config(architecture) or {"text_cfg": {}}
    return "hf_tokenizer_name" in config["text_cfg"] or "hf_model_name" in config["text_cfg"]


def _host_problems(downloads: Sequence[Download]) -> list[str] | _UnreachableError:
    """Asks a host for the first, and for the others only if there was an answer."""
    try:
        first = _first_problem(downloads[0])
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            others = list(pool.map(_problem, downloads[1:]))
    except _UnreachableError as error:
        return error
    return [problem for problem in (first, *others) if problem]


def _first_problem(download: Download) -> str:
    """What `_problem` says, unless it takes long: name servers and firewalls may be silent for a minute."""
    answers: queue.SimpleQueue[str | _UnreachableError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_problem(download))
        except _UnreachableError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()  # nobody waits for it at the end of the process
    try:
        answer = answers.get(timeout=_PATIENCE_S)
    except queue.Empty:
        raise _UnreachableError(f"no answer in {_PATIENCE_S:g} s") from None
    if isinstance(answer, _UnreachableError):
        raise answer
    return answer


def _problem(download: Download) -> str:
    """Why a weight cannot be had; empty if it can."""
    if not download.repository:
        return _address_problem(download)
    repository = download.repository
    for file in download.files:
        try:
            url = hf_hub_url(repository, file, revision=download.revision)
            get_hf_file_metadata(url, timeout=_TIMEOUT_S)
        except EntryNotFoundError:
            continue
        except GatedRepoError:
            return (
                f"'{download.name}' is gated: accept its licence at https://huggingface.co/{repository}, set HF_TOKEN"
            )
        except RepositoryNotFoundError:
            return f"'{download.name}': the hub shows no '{repository}'; if it is private, set HF_TOKEN"
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                return f"'{download.name}': the hub refuses '{repository}' (status {status}): set a valid HF_TOKEN"
            return _status_problem(download.name, "the hub", status)
        except Exception as error:  # each version of the hub's client has another HTTP library with its own errors
            raise _UnreachableError(type(error).__name__) from error
        return ""
    return f"'{download.name}': '{repository}' on the hub has no {' or '.join(download.files)}"


def _address_problem(download: Download) -> str:
    request = urllib.request.Request(download.url, method="HEAD")  # noqa: S310 - from timm's or open_clip's own list
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return _status_problem(download.name, f"'{download.host}'", error.code)
    except OSError as error:
        raise _UnreachableError(type(error).__name__) from error


def _status_problem(name: str, who: str, status: int) -> str:
    """A host that is asked too often will give the weight later."""
    return "" if status == 429 else f"'{name}': {who} answered with status {status}: try again later, or {ADVICE}"


def _download(library: str, name: str) -> Download:
    return _from_open_clip(name) if library == "open_clip" else _from_timm(name)


def _from_timm(name: str) -> Download:
    import timm

    config: Any = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    if not config.hf_hub_id:
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(config.url).path).name
        return Download(name=name, url=config.url, kept=kept)
    repository, _, revision = config.hf_hub_id.partition("@")
    files = (config.hf_hub_filename,) if config.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    return Download(name=name, repository=repository, revision=revision or None, files=files)


def _from_open_clip(name: str) -> Download:
    import open_clip

    architecture, _, tag = name.partition("/")
    config: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if not config.get("hf_hub"):
        url = config["url"]
        return Download(name=name, url=url, kept=Path("~/.cache/clip").expanduser() / Path(urlsplit(url).path).name)
    repository, _, file = config["hf_hub"].rpartition("/")
    return Download(name=name, repository=repository, files=tuple(_spellings(file or _DEFAULT_FILE)))


def _spellings(file: str) -> Iterator[str]:
    """A file of weights as open_clip looks for it, safetensors first."""
    if file == _DEFAULT_FILE:
        yield "open_clip_model.safetensors"
    elif file.endswith((".bin", ".pth")):
        yield f"{file[:-4]}.safetensors"
    yield file
