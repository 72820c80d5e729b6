"""What is told of the hub before a sweep starts; a server of our own stands in for it."""

import http.server
import threading
import time
import types
import urllib.request

import open_clip
import pytest
import timm
import torch
from huggingface_hub import constants

from overlap.models import hub, hub_problems, tokenizer_problems

TIMM = ("timm", "resnet18.a1_in1k")
FILE = "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
PICKLE = "/timm/resnet18.a1_in1k/resolve/main/pytorch_model.bin"
CLIP = ("open_clip", "ViT-B-32/laion2b_s34b_b79k")
CLIP_REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
SECRET = "hf_" + "secret" * 5


@pytest.fixture(autouse=True)
def no_caches(tmp_path, monkeypatch):
    """Caches of this machine play no part."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))


@pytest.fixture
def answers():
    """What the hub answers to a path: a status and headers; 200 to all others."""
    return {}


@pytest.fixture
def asked():
    """The paths that the hub was asked for."""
    return []


@pytest.fixture
def fake_hub(answers, asked, monkeypatch):
    """A server that stands in for the hub."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            status, headers = answers.get(self.path, (200, {"ETag": '"0"', "Content-Length": "0"}))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield address
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody(monkeypatch):
    """A hub that refuses connections."""
    address = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


def cache_file(tmp_path, repository, file):
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("0" * 40) / file).write_bytes(b"weights")


def test_weights_that_the_hub_has_are_no_problem(fake_hub, asked):
    assert hub_problems([TIMM, CLIP, TIMM]) == []
    assert sorted(asked) == [f"/{CLIP_REPOSITORY}/resolve/main/open_clip_model.safetensors", FILE]


def test_an_older_file_of_a_repository_will_do(fake_hub, answers, asked):
    answers[FILE] = (404, {"X-Error-Code": "EntryNotFound"})
    assert hub_problems([TIMM]) == []
    assert asked == [FILE, PICKLE]


def test_a_repository_without_weights_is_told(fake_hub, answers):
    answers[FILE] = answers[PICKLE] = (404, {"X-Error-Code": "EntryNotFound"})
    expected = "'resnet18.a1_in1k': 'timm/resnet18.a1_in1k' on the hub has no model.safetensors or pytorch_model.bin"
    assert hub_problems([TIMM]) == [expected]


@pytest.mark.parametrize("status", [401, 403])
def test_gated_weights_say_where_to_accept_the_licence(status, fake_hub, answers):
    answers[FILE] = (status, {"X-Error-Code": "GatedRepo"})
    (problem,) = hub_problems([TIMM, CLIP])
    assert problem == (
        "'resnet18.a1_in1k' is gated: accept its licence at https://huggingface.co/timm/resnet18.a1_in1k, set HF_TOKEN"
    )


@pytest.mark.parametrize("status", [401, 404])
def test_a_repository_that_the_hub_does_not_show_is_told(status, fake_hub, answers):
    answers[FILE] = (status, {"X-Error-Code": "RepoNotFound"})
    (problem,) = hub_problems([TIMM])
    assert problem == "'resnet18.a1_in1k': the hub shows no 'timm/resnet18.a1_in1k'; if it is private, set HF_TOKEN"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_told(status, fake_hub, answers):
    answers[FILE] = (status, {"X-Error-Message": "Invalid credentials in Authorization header"})
    refused = f"the hub refuses 'timm/resnet18.a1_in1k' (status {status}): set a valid HF_TOKEN"
    assert hub_problems([TIMM]) == [f"'resnet18.a1_in1k': {refused}"]


def test_a_hub_out_of_order_is_told_and_a_busy_one_is_not(fake_hub, answers):
    answers[FILE] = (503, {})
    (problem,) = hub_problems([TIMM])
    assert problem.startswith("'resnet18.a1_in1k': the hub answered with status 503: try again later, or download")
    answers[FILE] = (429, {})
    assert hub_problems([TIMM]) == []


def test_every_weight_that_cannot_be_had_has_a_line_in_order(fake_hub, answers):
    names = ["resnet18.a1_in1k", "resnet34.a1_in1k", "resnet50.a1_in1k", "resnet101.a1_in1k"]
    for name in names:
        for file in ("model.safetensors", "pytorch_model.bin"):
            answers[f"/timm/{name}/resolve/main/{file}"] = (404, {"X-Error-Code": "EntryNotFound"})
    problems = hub_problems([("timm", name) for name in names])
    assert [problem.partition("'")[2].partition("'")[0] for problem in problems] == names


@pytest.mark.usefixtures("nobody")
def test_an_absent_hub_is_told_once_for_all():
    names = [("timm", name) for name in timm.list_models("resnet*", pretrained=True)]
    started = time.monotonic()
    (problem,) = hub_problems([*names, CLIP])
    assert time.monotonic() - started < 15
    shown = ", ".join(name for _, name in names[:3])
    assert problem.startswith("the hub cannot be reached (ConnectError) for ")
    assert problem.endswith(
        f"{len(names) + 1} weights ({shown} …): download the weights where there is internet, "
        "and give weights: <folder>"
    )


def test_offline_mode_asks_nobody(fake_hub, asked, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (problem,) = hub_problems([TIMM, CLIP])
    assert problem.startswith("the hub cannot be reached (OfflineModeIsEnabled) for 2 weights")
    assert asked == []


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_what_is_in_the_hubs_cache_needs_no_hub(file, tmp_path):
    cache_file(tmp_path, "timm/resnet18.a1_in1k", file)
    cache_file(tmp_path, CLIP_REPOSITORY, "open_clip_model.safetensors")
    assert hub_problems([TIMM, CLIP]) == []
    assert "for 1 weights (resnet34.a1_in1k)" in hub_problems([TIMM, CLIP, ("timm", "resnet34.a1_in1k")])[0]


def test_a_silent_network_is_waited_for_only_so_long(monkeypatch):
    woken = threading.Event()
    monkeypatch.setattr(hub, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda *_, **__: woken.wait(30))
    (problem,) = hub_problems([TIMM])
    woken.set()
    assert problem.startswith("the hub cannot be reached (no answer in 0.2 s) for 1 weights")


URL = ("timm", "gcvit_tiny.in1k")  # one of the few that timm still has from an address


def test_weights_from_an_address_are_asked_for_there(fake_hub, answers, monkeypatch, asked):
    monkeypatch.setattr(hub, "_from_timm", lambda name: hub.Download(name=name, url=f"{fake_hub}/weights.pth"))
    assert hub_problems([URL]) == []
    assert asked == ["/weights.pth"]
    answers["/weights.pth"] = (404, {})
    assert hub_problems([URL])[0].startswith(f"'gcvit_tiny.in1k': '{fake_hub[7:]}' answered with status 404")


@pytest.mark.usefixtures("nobody")
def test_an_absent_address_is_told_with_its_host(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    (problem,) = hub_problems([URL, TIMM])
    assert problem.startswith("'github.com' and the hub cannot be reached (OSError) for 2 weights (gcvit_tiny.in1k, ")
    file = timm.models.get_pretrained_cfg(URL[1]).url.rpartition("/")[2]
    (tmp_path / "torch" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "checkpoints" / file).write_bytes(b"weights")
    assert hub_problems([URL]) == []


@pytest.mark.parametrize("status", [401, 403, 500, "absent"])
def test_no_message_shows_a_token(status, fake_hub, answers, monkeypatch, capfd):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    answers[FILE] = (status, {"X-Error-Message": "Invalid credentials in Authorization header"})
    if status == "absent":
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
        )
    (problem,) = hub_problems([TIMM])
    assert SECRET not in problem
    assert SECRET not in "".join(capfd.readouterr())


def test_every_weight_of_both_libraries_has_a_place(monkeypatch):
    monkeypatch.setattr(hub, "_host_problems", lambda downloads: [f"{downloads[0].host} {len(downloads)}"])
    names = [("timm", name) for name in timm.list_models(pretrained=True)]
    names += [("open_clip", "/".join(listed)) for listed in open_clip.list_pretrained()]
    hosts = dict(problem.split() for problem in hub_problems(names))
    assert sum(map(int, hosts.values())) == len(names)
    assert set(hosts) == {"huggingface.co", "github.com", "dl.fbaipublicfiles.com"}


def test_texts_that_need_another_package_are_told_once_for_all(monkeypatch):
    monkeypatch.setattr(hub.importlib.util, "find_spec", {}.get)
    assert tokenizer_problems(["ViT-B-32", "RN50"]) == []
    (problem,) = tokenizer_problems(["ViT-B-32", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP", "roberta-ViT-B-32"])
    assert problem.startswith("the texts of 2 models (ViT-B-16-SigLIP, roberta-ViT-B-32) need the package transformers")
    monkeypatch.setattr(hub.importlib.util, "find_spec", types.ModuleType)
    assert tokenizer_problems(["ViT-B-16-SigLIP"]) == []
