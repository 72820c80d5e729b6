"""What a variant asks of a machine, how a sweep file says it, and which machines will do."""

import pytest

from overlap.errors import SweepFileError
from overlap.expand import expand
from overlap.resources import ACCELERATOR_LABEL, GPU_MEMORY_GIB, Machine, Resources, accelerators_with
from overlap.spec import read_sweep

L4 = Machine(cpus=4, gpus=1, labels={ACCELERATOR_LABEL: "L4", "market": "spot"})
LAPTOP = Machine(cpus=8, gpus=0, labels={})


@pytest.mark.parametrize(
    ("resources", "machine", "count"),
    [
        (Resources(), L4, 4),
        (Resources(cpus=3), L4, 1),
        (Resources(cpus=5), L4, 0),
        (Resources(gpus=1), L4, 1),
        (Resources(gpus=1), LAPTOP, 0),
        (Resources(gpus=0.5), L4, 2),
        (Resources(gpus=0.34), Machine(cpus=16, gpus=2, labels={}), 4),  # two thirds of a GPU on each card
        (Resources(gpus=0.1), L4, 4),  # the CPUs are used up first
        (Resources(gpus=2), Machine(cpus=16, gpus=5, labels={}), 2),
        (Resources(gpus=1, accelerators=("A100", "L4")), L4, 1),
        (Resources(gpus=1, accelerators=("A100",)), L4, 0),
        (Resources(market="spot"), L4, 4),
        (Resources(market="on-demand"), L4, 0),
        (Resources(market="spot"), LAPTOP, 0),
    ],
)
def test_how_many_variants_fit_on_a_machine(resources, machine, count):
    assert machine.holds(resources) == count


def test_a_request_becomes_rays_label_selector():
    needs = Resources(gpus=1, accelerators=("L4", "A100"), market="spot")
    assert needs.selector() == {"ray.io/accelerator-type": "in(A100,L4)", "market": "in(spot)"}
    assert needs.selector(without_nodes=frozenset("ba"))["ray.io/node-id"] == "!in(a,b)"
    assert Resources(gpus=1).selector() == {}


def test_a_minimum_of_memory_means_the_accelerators_that_surely_have_it():
    assert accelerators_with(80) == ("A100-80G", "H100", "H20", "H200", "B200")
    assert accelerators_with(40, ("L4", "A100", "unheard-of")) == ("A100",)
    assert accelerators_with(1) == tuple(GPU_MEMORY_GIB)


def resources_of(text, extra):
    return read_sweep(f"{text}{extra}\n", path="s.yaml").resources


def test_a_sweep_file_says_it_in_its_own_words(sweep_text):
    text = "resources: {gpus: 1, gpu_memory_gib: 100, market: spot, on_demand_after_s: 60, timeout_s: 5}"
    assert resources_of(sweep_text, text) == Resources(
        gpus=1.0, accelerators=("H200", "B200"), market="spot", on_demand_after_s=60.0, timeout_s=5.0
    )
    assert resources_of(sweep_text, "resources: {gpus: 1, accelerator: L4}").accelerators == ("L4",)
    assert resources_of(sweep_text, "resources: {gpus: 1, accelerator: [L4, T4], gpu_memory_gib: 20}").accelerators == (
        "L4",
    )


def test_an_entry_may_ask_for_more_and_inherits_the_rest(sweep_text):
    text = sweep_text + (
        "resources: {gpus: 0.5, cpus: 2, timeout_s: 9}\n"
        "vary:\n  - {seed: 1, resources: {gpus: 1, accelerator: H100}}\n  - {seed: 2}\n"
    )
    origins, problems = expand(read_sweep(text, path="s.yaml"))
    assert problems == []
    base, asks, inherits = (origin.resources for origin in origins)
    assert base == inherits == Resources(gpus=0.5, cpus=2, timeout_s=9.0)
    assert asks == Resources(gpus=1.0, cpus=2, timeout_s=9.0, accelerators=("H100",))


def test_what_a_variant_runs_on_changes_neither_its_draws_nor_its_name(sweep_text, variants_of):
    entry = "  - {{hyperparameters: {{learning_rate: {{loguniform: [1.0e-4, 1.0e-2]}}}}, samples: 3{more}}}\n"
    plain = variants_of("vary:\n" + entry.format(more=""), text=sweep_text)
    asking = variants_of("vary:\n" + entry.format(more=", resources: {cpus: 3}"), text=sweep_text)
    assert plain == asking


@pytest.mark.parametrize(
    ("resources", "where", "message"),
    [
        ("{gpus: 1.5}", "resources", "expected whole gpus above one, got 1.5"),
        ("{gpus: -1}", "resources.gpus", "should be greater than or equal to 0"),
        ("{accelerator: L4}", "resources.accelerator", "a GPU is described, but 'gpus' is 0"),
        ("{gpu_memory_gib: 8}", "resources.gpu_memory_gib", "a GPU is described, but 'gpus' is 0"),
        ("{gpus: 1, gpu_memory_gib: 999}", "resources.gpu_memory_gib", "no accelerator is known to have 999 GiB"),
        ("{gpus: 1, accelerator: T4, gpu_memory_gib: 20}", "resources.gpu_memory_gib", "no accelerator is known"),
        ("{on_demand_after_s: 60}", "resources.on_demand_after_s", "only a request for market: spot can be widened"),
        ("{market: cheap}", "resources.market", "should be 'spot' or 'on-demand', got 'cheap'"),
        ("{timeout_s: 0}", "resources.timeout_s", "should be greater than 0"),
        ("{timeout: 60}", "resources.timeout", "unknown key; did you mean 'timeout_s'?"),
    ],
)
@pytest.mark.parametrize("place", ["top", "vary"])
def test_requests_that_nothing_can_meet_are_told_with_their_line(sweep_text, resources, where, message, place):
    text = f"resources: {resources}\n" if place == "top" else f"vary:\n  - {{seed: 1, resources: {resources}}}\n"
    with pytest.raises(SweepFileError) as error:
        read_sweep(sweep_text + text, path="s.yaml")
    (problem,) = error.value.problems
    assert problem.message.startswith(message) or message in problem.message
    assert problem.where == (where if place == "top" else f"vary[0].{where}")
    assert problem.line == (8 if place == "top" else 9)
