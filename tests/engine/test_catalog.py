"""What a `pretrained` entry selects, and what is known about each weight before it is downloaded."""

import re
from dataclasses import replace

import open_clip
import pytest
import timm

from overlap.models import Selection, select_models, select_open_clip, select_timm
from overlap.models.catalog import _timm_source, open_clip_entry, timm_entry
from overlap.models.measure_sizes import (
    SizeKey,
    find_cost,
    known_costs,
    main,
    measure_open_clip,
    measure_timm,
    natural_order,
    open_clip_key,
    timm_key,
    wanted,
)

# Parameters and 10⁹ multiply-adds as the papers or timm's results give them, rounded as there. For transformers
# they are torch's exact counts: papers and timm leave attention's own two products out (vit_base: 16.87).
PUBLISHED = {
    "resnet50.a1_in1k": (25.56, 4.09),
    "resnet18.a1_in1k": (11.69, 1.81),
    "convnext_base.fb_in1k": (88.59, 15.36),
    "efficientnet_b0.ra_in1k": (5.29, 0.39),
    "mobilenetv3_large_100.ra_in1k": (5.48, 0.22),
    "regnety_160.deit_in1k": (83.59, 15.93),
    "vit_base_patch16_224.augreg_in1k": (86.57, 17.56),
    "deit_small_patch16_224.fb_in1k": (22.05, 4.60),
    "swin_tiny_patch4_window7_224.ms_in1k": (28.29, 4.49),
}


def names(selection, select=select_timm):
    entries, problems = select(selection)
    assert problems == []
    return [entry.name for entry in entries]


def problems_of(*patterns, select=select_timm, **limits):
    entries, problems = select(Selection(patterns=patterns, **limits))
    assert entries == []
    return problems


def test_a_timm_weight_is_described_as_timm_loads_it():
    entry = timm_entry("resnet50.a1_in1k")
    assert (entry.library, entry.name, entry.architecture) == ("timm", "resnet50.a1_in1k", "resnet50")
    assert (entry.framework, entry.train_on) == ("supervised", "imagenet-1k")
    assert (entry.parameters, entry.gmacs) == (25_557_032, 4.089)
    assert (entry.classes, entry.label_space) == (1000, "imagenet-1k")
    assert (entry.size, entry.crop_pct, entry.crop_mode, entry.interpolation) == (224, 0.95, "center", "bicubic")
    assert (entry.mean, entry.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (entry.licence, entry.source) == ("apache-2.0", "hf-hub:timm/resnet50.a1_in1k")


def test_an_open_clip_weight_is_described_as_open_clip_loads_it():
    entry = open_clip_entry("ViT-B-32/laion2b_s34b_b79k")
    assert (entry.library, entry.architecture) == ("open_clip", "ViT-B-32")
    assert (entry.framework, entry.train_on) == ("clip", "laion-2b")
    assert entry.parameters == 151_277_313
    assert (entry.classes, entry.label_space, entry.licence) == (0, "text", "")
    assert (entry.size, entry.crop_pct, entry.crop_mode, entry.interpolation) == (224, 1.0, "center", "bicubic")
    assert entry.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert entry.source == "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


def test_siglip_squashes_its_inputs_and_other_sources_have_a_file_or_an_address():
    assert open_clip_entry("ViT-B-16-SigLIP/webli").crop_mode == "squash"
    assert open_clip_entry("ViTamin-S/datacomp1b").source == "hf-hub:jienengchen/ViTamin-S/pytorch_model.bin"
    assert timm_entry("gcvit_tiny.in1k").source.startswith("https://github.com/")
    with_file = timm.models.PretrainedCfg(hf_hub_id="some/model", hf_hub_filename="part.safetensors", url="https://x")
    assert _timm_source(with_file) == "hf-hub:some/model/part.safetensors"


@pytest.mark.parametrize(
    ("name", "classes", "label_space"),
    [
        ("vit_base_patch14_dinov2.lvd142m", 0, ""),
        ("resmlp_12_224.fb_dino", 0, ""),  # timm gives it a head of 1000, which DINO does not train
        ("vit_base_patch16_clip_224.openai", 0, ""),  # its head is the projection that texts share
        ("fastvit_mci0.apple_mclip", 0, ""),
        ("vit_base_patch16_clip_224.openai_ft_in1k", 1000, "imagenet-1k"),
        ("tf_efficientnet_b0.ns_jft_in1k", 1000, "imagenet-1k"),
        ("convnext_tiny.in12k", 11821, "imagenet-12k"),
        ("vit_base_patch16_224.augreg_in21k", 21843, "imagenet-21k-goog"),
        ("convnext_tiny.fb_in22k", 21841, "imagenet-22k"),
        ("focalnet_large_fl3.ms_in22k", 21842, "imagenet-22k-ms"),
        ("mobilenetv3_large_100.miil_in21k", 11221, "imagenet-21k-miil"),
        ("mvitv2_base_cls.fb_inw21k", 19168, ""),
        ("vit_base_patch16_224.bamboo", 115217, ""),
    ],
)
def test_only_what_tells_classes_apart_has_classes(name, classes, label_space):
    entry = timm_entry(name)
    assert (entry.classes, entry.label_space) == (classes, label_space)


def test_heads_of_imagenets_size_are_classifiers_but_for_those_that_dino_left_untrained():
    entries, _ = select_timm(Selection(patterns=("all",)))
    heads = {entry.name: timm.models.get_pretrained_cfg(entry.name).num_classes for entry in entries}
    sizes = {1000, 11221, 11821, 19168, 21841, 21842, 21843, 115217}
    untrained = [e.name for e in entries if heads[e.name] in sizes and e.classes != heads[e.name]]
    assert untrained == ["resmlp_12_224.fb_dino", "resmlp_24_224.fb_dino"]
    assert [e.name for e in entries if heads[e.name] not in sizes and e.classes] == []
    assert [e.name for e in entries if e.label_space and not e.classes] == []


def test_label_spaces_are_named_as_timms_class_names_are():
    from timm.data import ImageNetInfo

    entries, _ = select_timm(Selection(patterns=("*.in12k", "resnet18", "*.miil_in21k", "*.goog_in21k", "*.ms_in22k")))
    spaces = {(entry.label_space, entry.classes) for entry in entries if entry.classes}
    assert len(spaces) == 6
    for space, classes in spaces:
        assert ImageNetInfo(space).num_classes() == classes


def test_the_size_is_the_one_of_training_not_the_larger_one_of_testing():
    assert timm.models.get_pretrained_cfg("resnet50.a1_in1k").test_input_size == (3, 288, 288)
    assert timm_entry("resnet50.a1_in1k").size == 224


def test_globs_take_full_names_each_once_in_natural_order():
    chosen = names(Selection(patterns=("resnet*.a1_in1k", "resnet101.*", "resnet18.a1_in1k")))
    assert chosen[:3] == ["resnet18.a1_in1k", "resnet34.a1_in1k", "resnet50.a1_in1k"]
    assert len(chosen) == len(set(chosen)) > 8
    assert chosen == names(Selection(patterns=("resnet18.a1_in1k", "resnet101.*", "resnet*.a1_in1k")))


def test_a_bare_architecture_is_the_weight_that_timm_loads_for_it():
    tag = timm.models.get_pretrained_cfg("resnet50").tag
    assert names(Selection(patterns=("resnet50",))) == [f"resnet50.{tag}"]


def test_the_default_weight_of_every_architecture_is_one_that_can_be_downloaded():
    listed = timm.list_models(pretrained=True)
    defaults = {
        f"{name}.{timm.models.get_pretrained_cfg(name).tag}" for name in {name.partition(".")[0] for name in listed}
    }
    assert defaults - set(listed) == set()


def test_all_is_every_weight_of_a_library():
    assert sorted(names(Selection(patterns=("all",)))) == sorted(timm.list_models(pretrained=True))


def test_excluded_globs_are_of_names_or_architectures():
    every = names(Selection(patterns=("resnet50.*",)))
    assert names(Selection(patterns=("resnet50.*",), exclude=("*.a?_in1k",))) == [
        name for name in every if not re.search(r"\.a._in1k$", name)
    ]
    assert names(Selection(patterns=("resnet18.a1_in1k", "resnet34.a1_in1k"), exclude=("resnet18",))) == [
        "resnet34.a1_in1k"
    ]


def test_limits_of_size_speed_licence_and_framework_hold():
    every, _ = select_timm(Selection(patterns=("vit_*", "resnet*")))
    wanted_ones, problems = select_timm(
        Selection(
            patterns=("vit_*", "resnet*"),
            max_parameters=30e6,
            max_gmacs=5.0,
            licences=("apache-*", "mit"),
            frameworks=("supervised", "dino"),
        )
    )
    assert problems == []
    assert wanted_ones == [
        entry
        for entry in every
        if entry.parameters <= 30e6
        and entry.gmacs <= 5.0
        and (entry.licence == "mit" or entry.licence.startswith("apache-"))
        and entry.framework in ("supervised", "dino")
    ]
    assert {entry.framework for entry in wanted_ones} == {"supervised", "dino"}


def test_limits_include_their_value():
    selection = Selection(patterns=("resnet50.a1_in1k",), max_parameters=25_557_032, max_gmacs=4.089)
    assert names(selection) == ["resnet50.a1_in1k"]


def test_a_limit_takes_the_first_in_natural_order_after_all_others():
    small = Selection(patterns=("resnet*.a1_in1k",), max_parameters=30e6)
    assert names(replace(small, limit=2)) == names(small)[:2]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("resnet5O", "'resnet5O' is no pretrained timm model; did you mean 'resnet50'?"),
        ("resnet50.a1_in1K", "'a1_in1K' is no weight of 'resnet50', which has"),
        ("vit_base_patch16_224.dinoo", "'dinoo' is no weight of 'vit_base_patch16_224', which has augreg"),
        ("nothing*", "'nothing*' is no pretrained timm model"),
    ],
)
def test_a_pattern_that_names_nothing_is_told_with_what_is_near(pattern, problem):
    (told,) = problems_of(pattern)
    assert told.startswith(problem)


def test_every_pattern_that_names_nothing_is_told_and_the_others_still_select():
    entries, problems = select_timm(Selection(patterns=("resnet18", "resnte34", "nothing")))
    assert [entry.architecture for entry in entries] == ["resnet18"]
    assert len(problems) == 2


def test_limits_that_leave_nothing_are_told():
    told = "of 1 matching pretrained models, what is excluded and the limits leave none"
    assert problems_of("resnet18", max_parameters=1e6) == [told]
    assert problems_of("resnet18", exclude=("resnet*",)) == [told]
    assert problems_of("resnet18", frameworks=("simclrr", "dinov")) == [
        "'simclrr' is no framework of a pretrained model",
        "'dinov' is no framework of a pretrained model; did you mean 'dinov3'?",
    ]


def test_weights_of_another_activation_are_left_out_of_open_clip_for_their_own_architecture():
    chosen = names(Selection(patterns=("ViT-B-32*/*",)), select_open_clip)
    assert "ViT-B-32-quickgelu/openai" in chosen
    assert "ViT-B-32/openai" not in chosen
    assert "ViT-B-32/laion2b_s34b_b79k" in chosen
    assert problems_of("ViT-B-32/openai", select=select_open_clip) == [
        "'ViT-B-32/openai' has only weights that need quick GELU; take ViT-B-32-quickgelu/openai"
    ]


def test_all_of_open_clip_are_its_weights_with_the_activation_they_were_trained_with():
    entries, problems = select_open_clip(Selection(patterns=("all",)))
    assert problems == []
    assert len({entry.source for entry in entries}) >= len({hub(pair) for pair in open_clip.list_pretrained()})
    for entry in entries:
        tag = open_clip.get_pretrained_cfg(*entry.name.split("/"))
        assert not tag.get("quick_gelu") or open_clip.get_model_config(entry.architecture)["quick_gelu"]


def hub(pair):
    return open_clip.get_pretrained_cfg(*pair)["hf_hub"]


def test_a_bare_architecture_of_open_clip_is_its_only_weight_or_has_to_be_completed():
    assert names(Selection(patterns=("ViT-B-16-SigLIP",)), select_open_clip) == ["ViT-B-16-SigLIP/webli"]
    (problem,) = problems_of("ViT-B-16-quickgelu", select=select_open_clip)
    assert problem == (
        "'ViT-B-16-quickgelu' has several open_clip weights; take one of ViT-B-16-quickgelu/openai, "
        "ViT-B-16-quickgelu/dfn2b, ViT-B-16-quickgelu/metaclip_400m, ViT-B-16-quickgelu/metaclip_fullcc"
    )


def test_one_selection_takes_from_both_libraries():
    selection = Selection(patterns=("open_clip:ViT-B-32/laion2b_*", "resnet18.a1_in1k"))
    entries, problems = select_models(selection)
    assert problems == []
    assert [entry.name for entry in entries] == [
        "resnet18.a1_in1k",
        "ViT-B-32/laion2b_e16",
        "ViT-B-32/laion2b_s34b_b79k",
    ]
    excluding = replace(selection, exclude=("open_clip:*_e16",), limit=2)
    assert [e.name for e in select_models(excluding)[0]] == ["resnet18.a1_in1k", "ViT-B-32/laion2b_s34b_b79k"]


def test_limits_may_leave_nothing_of_one_library():
    selection = Selection(patterns=("resnet18.a1_in1k", "open_clip:ViT-B-32/laion2b_*"), max_parameters=20e6)
    entries, problems = select_models(selection)
    assert problems == []
    assert [entry.name for entry in entries] == ["resnet18.a1_in1k"]
    nothing, told = select_models(replace(selection, max_parameters=1e6))
    assert nothing == []
    assert told == ["of 3 matching pretrained models, what is excluded and the limits leave none"]


def test_numbers_inside_names_are_ordered_by_value():
    assert sorted(["resnet101", "resnet50", "ResNet18", "a"], key=natural_order) == [
        "a",
        "ResNet18",
        "resnet50",
        "resnet101",
    ]


def test_the_table_has_a_row_for_every_weight_of_the_installed_libraries_and_is_sorted():
    rows = list(known_costs())
    assert set(wanted()) - set(rows) == set()
    assert rows == sorted(rows, key=lambda key: (key.library, natural_order(key.architecture), key.size, key.classes))


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_rows_of_timm_are_what_measuring_anew_gives_and_what_is_published(name, published):
    cost = known_costs()[timm_key(name)]
    assert measure_timm(name) == cost
    assert cost.parameters / 1e6 == pytest.approx(published[0], abs=0.006)
    assert cost.gmacs == pytest.approx(published[1], abs=0.03)


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [("ViT-B-32", 151.28), ("RN50", 102.01), ("ViT-B-16-SigLIP", 203.16), ("roberta-ViT-B-32", 212.72)],
)
def test_rows_of_open_clip_are_what_measuring_anew_gives_with_both_towers_parameters(architecture, millions):
    cost = known_costs()[open_clip_key(architecture)]
    assert measure_open_clip(architecture) == cost
    assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.006)


def test_a_weight_without_a_row_is_measured_when_it_is_asked_for():
    key = SizeKey(library="timm", architecture="test_resnet", size=1, classes=1)
    assert find_cost(key, "test_resnet.r160_in1k") == measure_timm("test_resnet.r160_in1k")


def test_the_script_measures_what_lacks_and_drops_what_an_interruption_cut(tmp_path, monkeypatch):
    import overlap.models.measure_sizes as script

    keys = {timm_key(f"test_{name}.r160_in1k"): f"test_{name}.r160_in1k" for name in ("vit", "resnet", "byobnet")}
    monkeypatch.setattr(script, "wanted", lambda: keys)
    path = tmp_path / "sizes.csv"
    main(path)
    whole = path.read_text()
    header, byobnet, resnet, vit = whole.splitlines()
    kept = resnet.replace(resnet.split(",")[4], "7")
    path.write_text(f"{header}\n{kept}\n{vit[:-2]}")
    main(path)
    assert path.read_text().splitlines() == [header, byobnet, kept, vit]
