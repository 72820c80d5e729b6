"""Every pretrained weight that the installed timm and open_clip list is known, and rightly."""

import fnmatch
import re

import open_clip
import pytest
import timm
import yaml

from overlap.taxonomy import Lineage, classify, frameworks, rules, unknown_line

IMAGENETS = {"in1k": "imagenet-1k", "in12k": "imagenet-12k", "in21k": "imagenet-21k", "in22k": "imagenet-22k"}

KNOWN_TIMM = {
    "resnet50.a1_in1k": ("supervised", "imagenet-1k"),
    "resnet50.tv2_in1k": ("supervised", "imagenet-1k"),
    "resnet18.fb_swsl_ig1b_ft_in1k": ("semi-weakly-supervised", "ig-1b > imagenet-1k"),
    "resnet50.fb_ssl_yfcc100m_ft_in1k": ("semi-supervised", "yfcc-100m > imagenet-1k"),
    "resnext101_32x16d.fb_wsl_ig1b_ft_in1k": ("weakly-supervised", "ig-1b > imagenet-1k"),
    "resnet50_clip.openai": ("clip", "wit-400m"),
    "resnet50_clip.cc12m": ("clip", "cc-12m"),
    "test_resnet.r160_in1k": ("supervised", "imagenet-1k"),
    "vit_base_patch16_224.augreg_in1k": ("supervised", "imagenet-1k"),
    "vit_base_patch16_224.augreg_in21k": ("supervised", "imagenet-21k"),
    "vit_base_patch16_224.augreg_in21k_ft_in1k": ("supervised", "imagenet-21k > imagenet-1k"),
    "vit_base_patch16_224.sam_in1k": ("supervised", "imagenet-1k"),
    "vit_base_patch16_224.dino": ("dino", "imagenet-1k"),
    "vit_base_patch16_224.mae": ("mae", "imagenet-1k"),
    "vit_base_patch16_224_miil.in21k_ft_in1k": ("supervised", "imagenet-21k-p > imagenet-1k"),
    "vit_base_patch14_dinov2.lvd142m": ("dinov2", "lvd-142m"),
    "vit_large_patch16_dinov3.lvd1689m": ("dinov3", "lvd-1689m"),
    "vit_large_patch16_dinov3.sat493m": ("dinov3", "sat-493m"),
    "vit_huge_patch14_gap_224.in1k_ijepa": ("ijepa", "imagenet-1k"),
    "vit_base_patch16_clip_224.openai_ft_in1k": ("clip", "wit-400m > imagenet-1k"),
    "vit_base_patch16_clip_224.laion2b": ("clip", "laion-2b"),
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": ("clip", "laion-2b > imagenet-12k > imagenet-1k"),
    "vit_base_patch16_clip_224.datacompxl": ("clip", "datacomp-1b"),
    "vit_large_patch14_clip_224.metaclip_2pt5b": ("clip", "metaclip-2.5b"),
    "vit_huge_patch14_clip_378.dfn5b": ("clip", "dfn-5b"),
    "vit_base_patch16_siglip_224.webli": ("siglip", "webli"),
    "vit_base_patch16_siglip_224.v2_webli": ("siglip2", "webli"),
    "vit_so400m_patch14_siglip_378.webli_ft_in1k": ("siglip", "webli > imagenet-1k"),
    "deit_base_patch16_224.fb_in1k": ("supervised", "imagenet-1k"),
    "deit_base_distilled_patch16_224.fb_in1k": ("distilled", "imagenet-1k"),
    "deit3_base_patch16_224.fb_in22k_ft_in1k": ("supervised", "imagenet-22k > imagenet-1k"),
    "cait_s24_224.fb_dist_in1k": ("distilled", "imagenet-1k"),
    "regnety_160.deit_in1k": ("supervised", "imagenet-1k"),
    "regnety_320.seer": ("swav", "ig-random-1b"),
    "regnety_320.seer_ft_in1k": ("swav", "ig-random-1b > imagenet-1k"),
    "regnety_160.swag_ft_in1k": ("weakly-supervised", "ig-3.6b > imagenet-1k"),
    "regnety_160.swag_lc_in1k": ("weakly-supervised", "ig-3.6b > imagenet-1k-head"),
    "convnext_base.fb_in1k": ("supervised", "imagenet-1k"),
    "convnext_base.fb_in22k_ft_in1k_384": ("supervised", "imagenet-22k > imagenet-1k"),
    "convnext_tiny.in12k_ft_in1k": ("supervised", "imagenet-12k > imagenet-1k"),
    "convnext_base.clip_laion2b_augreg_ft_in12k_in1k": ("clip", "laion-2b > imagenet-12k > imagenet-1k"),
    "convnext_base.clip_laiona_augreg_ft_in1k_384": ("clip", "laion-aesthetic > imagenet-1k"),
    "convnext_tiny.dinov3_lvd1689m": ("dinov3", "lvd-1689m"),
    "convnextv2_base.fcmae": ("fcmae", "imagenet-1k"),
    "convnextv2_base.fcmae_ft_in22k_in1k_384": ("fcmae", "imagenet-1k > imagenet-22k > imagenet-1k"),
    "hiera_base_224.mae_in1k_ft_in1k": ("mae", "imagenet-1k > imagenet-1k"),
    "beit_base_patch16_224.in22k_ft_in22k_in1k": ("beit", "imagenet-22k > imagenet-22k > imagenet-1k"),
    "beitv2_base_patch16_224.in1k_ft_in22k_in1k": ("beitv2", "imagenet-1k > imagenet-22k > imagenet-1k"),
    "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k": ("eva", "merged-38m > imagenet-22k > imagenet-1k"),
    "eva_giant_patch14_224.clip_ft_in1k": ("clip", "merged-30m > laion-400m > imagenet-1k"),
    "tf_efficientnet_b0.aa_in1k": ("supervised", "imagenet-1k"),
    "tf_efficientnet_b0.ap_in1k": ("adversarial", "imagenet-1k"),
    "tf_efficientnet_b0.ns_jft_in1k": ("noisy-student", "jft-300m + imagenet-1k"),
    "tf_efficientnetv2_s.in21k_ft_in1k": ("supervised", "imagenet-21k > imagenet-1k"),
    "inception_v3.tf_adv_in1k": ("adversarial", "imagenet-1k"),
    "tiny_vit_21m_224.in1k": ("supervised", "imagenet-1k"),
    "tiny_vit_21m_224.dist_in22k_ft_in1k": ("distilled", "imagenet-22k > imagenet-1k"),
    "edgenext_small.usi_in1k": ("distilled", "imagenet-1k"),
    "fastvit_t8.apple_in1k": ("supervised", "imagenet-1k"),
    "fastvit_t8.apple_dist_in1k": ("distilled", "imagenet-1k"),
    "fastvit_mci0.apple_mclip": ("distilled", "datacompdr-1b"),
    "swin_tiny_patch4_window7_224.ms_in22k": ("supervised", "imagenet-22k"),
    "resnetv2_50x1_bit.goog_distilled_in1k": ("distilled", "imagenet-1k"),
    "resnetv2_50x1_bit.goog_in21k": ("supervised", "imagenet-21k"),
    "volo_d1_224.sail_in1k": ("token-labelling", "imagenet-1k"),
    "samvit_base_patch16.sa1b": ("sam", "imagenet-1k > sa-1b"),
    "aimv2_large_patch14_224.apple_pt": ("aimv2", "dfn-2b + coyo-700m + hqitp"),
}
KNOWN_OPEN_CLIP = {
    "ViT-B-32/openai": ("clip", "wit-400m"),
    "ViT-B-32-quickgelu/laion400m_e32": ("clip", "laion-400m"),
    "ViT-B-32/laion2b_s34b_b79k": ("clip", "laion-2b"),
    "ViT-B-16/datacomp_xl_s13b_b90k": ("clip", "datacomp-1b"),
    "ViT-B-32/commonpool_m_clip_s128m_b4k": ("clip", "commonpool-m-clip"),
    "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k": ("clip", "laion-5b"),
    "coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k": ("coca", "laion-2b > mscoco"),
    "ViT-B-16-SigLIP/webli": ("siglip", "webli"),
    "ViT-B-16-SigLIP2/webli": ("siglip2", "webli"),
    "MobileCLIP-S1/datacompdr": ("distilled", "datacompdr-1b"),
    "EVA02-B-16/merged2b_s8b_b131k": ("clip", "imagenet-22k > merged-2b"),
    "ViT-H-14-quickgelu/metaclip_fullcc": ("clip", "metaclip-2.5b"),
}


def weights(library):
    """Every pretrained weight that the installed library lists."""
    if library == "timm":
        return timm.list_models(pretrained=True)
    return ["/".join(pair) for pair in open_clip.list_pretrained()]


@pytest.mark.parametrize("library", ["timm", "open_clip"])
def test_no_weight_of_the_installed_libraries_is_unknown(library):
    names = weights(library)
    assert len(names) > 100
    assert [name for name in names if classify(library, name) is None] == []


@pytest.mark.parametrize("library", ["timm", "open_clip"])
def test_every_glob_decides_about_a_weight_or_is_marked_as_for_others(library):
    decided = {}
    for name in weights(library):
        rule = next(rule for rule in rules()[library] if rule.pattern.match(name))
        decided.setdefault(rule.globs, []).append(name)
    dead = []
    for rule in rules()[library]:
        dead += [g for g in rule.globs if not rule.elsewhere and not fnmatch.filter(decided.get(rule.globs, []), g)]
    assert dead == []


@pytest.mark.parametrize(("name", "lineage"), KNOWN_TIMM.items())
def test_well_known_weights_of_timm_are_what_their_papers_say(name, lineage):
    assert classify("timm", name) == Lineage(framework=lineage[0], train_on=lineage[1])


@pytest.mark.parametrize(("name", "lineage"), KNOWN_OPEN_CLIP.items())
def test_well_known_weights_of_open_clip_are_what_their_papers_say(name, lineage):
    assert classify("open_clip", name) == Lineage(framework=lineage[0], train_on=lineage[1])


def test_the_datasets_in_a_tag_of_timm_are_the_last_stages_of_its_training():
    disagree = []
    for name in weights("timm"):
        words = [IMAGENETS[word] for word in name.partition(".")[2].split("_") if word in IMAGENETS]
        stages = re.split(r" [>+] ", classify("timm", name).train_on)
        stages = [s.removesuffix("-head").removesuffix("-p") for s in stages if s.startswith("imagenet")]
        if words != stages[len(stages) - len(words) :]:
            disagree.append(name)
    assert disagree == ["rdnet_large.nv_in1k_ft_in1k_384"]  # the same images at a larger size


def test_a_classifier_of_timm_was_last_trained_on_the_classes_it_tells_apart():
    classes = {"imagenet-1k": {1000}, "imagenet-12k": {11821}, "imagenet-21k": {21843}, "imagenet-21k-p": {11221}}
    classes |= {"imagenet-22k": {21841, 21842}, "imagenet-21k-winter": {19168}, "bamboo": {115217}}
    wrong = []
    for name in weights("timm"):
        count = timm.models.get_pretrained_cfg(name).num_classes
        last = classify("timm", name).train_on.rpartition(" > ")[2].rpartition(" + ")[2].removesuffix("-head")
        known = count in set().union(*classes.values())
        if known != (count in classes.get(last, set())):
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("timm", "resnet50.new_in1k"),
        ("timm", "resnet50.a1_in3k"),
        ("timm", "newnet_base.in1k"),
        ("timm", "vit_base_patch16_224.dino_ft_in1k"),
        ("open_clip", "ViT-B-32/newdata_s13b"),
    ],
)
def test_a_recipe_that_no_rule_names_is_unknown_and_the_line_to_add_is_a_sweep_entry(library, name):
    assert classify(library, name) is None
    assert yaml.safe_load(unknown_line(library, name)) == [
        {library: [name], "framework": "FRAMEWORK", "train_on": "DATA"}
    ]


def test_words_are_plain_so_that_they_can_stand_in_a_sweep_file():
    lineages = [rule.lineage for library in rules().values() for rule in library]
    for lineage in lineages:
        assert re.fullmatch(r"[a-z0-9-]+", lineage.framework)
        assert re.fullmatch(r"[a-z0-9.-]+( [>+] [a-z0-9.-]+)*", lineage.train_on)
    assert frameworks() == sorted({lineage.framework for lineage in lineages})


def test_the_last_stage_of_a_lineage_is_what_was_seen_last():
    assert Lineage(framework="clip", train_on="laion-2b > imagenet-12k > imagenet-1k").last_stage == "imagenet-1k"
    assert Lineage(framework="clip", train_on="laion-2b").last_stage == "laion-2b"
