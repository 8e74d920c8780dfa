"""Tests of the demo networks: accuracy, and where their heat lies."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from camlens.core.errors import ModelError
from camlens.data import demo as photographs
from camlens.data.demo import WATERMARKED_CLASS, DemoPhotos, DemoSample
from camlens.models.demo import (
    CLASS_NAMES,
    DEFAULT_LAYER,
    DEMO_WEIGHTS,
    MEAN,
    SIZE,
    STD,
    DemoNet,
    build_demo_net,
    demo_weights_file,
    load_demo_net,
    preprocess_demo,
)
from tests.refusals import refused

CELL = 8  # pixels of the input per cell of the default layer's 16 x 16 grid


@pytest.fixture(scope="module")
def samples() -> list[DemoSample]:
    return list(DemoPhotos(length=200))


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a measured figure even where the test passes."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}")  # noqa: T201

    return say


def _inputs(samples: Sequence[DemoSample]) -> Tensor:
    return preprocess_demo(torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2))


def _labels(samples: Sequence[DemoSample]) -> Tensor:
    return torch.tensor([sample.label for sample in samples])


def _gradcam(net: DemoNet, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Grad-CAM of the predicted class as the paper writes it (n, h, w), and the predicted classes (n,)."""
    kept: list[Tensor] = []
    with net.get_submodule(DEFAULT_LAYER).register_forward_hook(lambda _m, _i, output: kept.append(output)):
        logits = net(inputs)
    scores, classes = logits.max(1)
    (gradients,) = torch.autograd.grad(scores.sum(), kept[0])
    maps = (gradients.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu().detach()
    return functional.interpolate(maps, size=(SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0], classes


def _energy_inside(maps: Tensor, masks: Tensor) -> Tensor:
    return (maps * masks).sum((1, 2)) / maps.sum((1, 2))


def _peaks_inside(maps: Tensor, masks: Tensor) -> Tensor:
    return masks.flatten(1).gather(1, maps.flatten(1).argmax(1, keepdim=True)).float()


def _watermark_masks(samples: Sequence[DemoSample], *, grown: int) -> Tensor:
    masks = torch.zeros(len(samples), SIZE, SIZE, dtype=torch.bool)
    for mask, sample in zip(masks, samples, strict=True):
        left, top, right, bottom = sample.watermark_box
        mask[max(top - grown, 0) : bottom + grown, max(left - grown, 0) : right + grown] = True
    return masks


def test_the_network_and_the_photographs_have_the_same_classes():
    assert CLASS_NAMES == photographs.CLASS_NAMES
    assert SIZE == photographs.DEFAULT_SIZE


def test_the_weight_files_together_stay_under_three_megabytes():
    assert sum(len(demo_weights_file(weights).read_bytes()) for weights in DEMO_WEIGHTS) < 3_000_000


@pytest.mark.parametrize("weights", DEMO_WEIGHTS)
def test_a_loaded_network_is_float32_finite_and_in_evaluation_mode(weights):
    net = load_demo_net(weights)
    assert not any(module.training for module in net.modules())
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_loading_keeps_the_random_state():
    before = torch.get_rng_state()
    load_demo_net("photos")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_default_layer_has_a_grid_of_sixteen_and_its_evidence_adds_up_to_the_logit():
    net, inputs = load_demo_net("photos"), torch.randn(2, 3, SIZE, SIZE)
    kept: list[Tensor] = []
    with net.get_submodule(DEFAULT_LAYER).register_forward_hook(lambda _m, _i, output: kept.append(output)):
        logits = net(inputs)
    assert kept[0].shape == (2, 64, SIZE // CELL, SIZE // CELL)
    evidence = torch.einsum("kc,nchw->nk", net.head.weight, kept[0]) / 16**2
    torch.testing.assert_close(evidence + net.head.bias, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", DEMO_WEIGHTS)
def test_no_feature_is_evidence_for_all_classes_alike(weights):
    head = load_demo_net(weights).head
    assert head.weight.mean(0).abs().max() < 1e-3
    assert head.bias.mean().abs() < 1e-3


def test_an_untrained_network_takes_any_number_of_images():
    assert build_demo_net().eval()(torch.zeros(3, 3, SIZE, SIZE)).shape == (3, len(CLASS_NAMES))


def test_preprocessing_scales_bytes_and_normalizes():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    wanted = [(value - mean) / std for value, mean, std in zip((0.0, 0.2, 1.0), MEAN, STD, strict=True)]
    torch.testing.assert_close(preprocess_demo(images)[0, :, 0, 0], torch.tensor(wanted))
    torch.testing.assert_close(preprocess_demo(images.float() / 255), preprocess_demo(images))


def test_unknown_weights_are_refused_by_name():
    with refused("model.unknown-weights", ModelError, weights="clean", known=["photos", "watermark"]):
        load_demo_net("clean")


def test_the_network_for_photos_recognizes_the_objects_and_its_heat_lies_on_them(samples, show):
    masks = torch.from_numpy(np.stack([sample.mask for sample in samples]))
    maps, classes = _gradcam(load_demo_net("photos"), _inputs(samples))
    right = classes == _labels(samples)
    accuracy = right.float().mean()
    energy = _energy_inside(maps, masks)[right].mean()
    pointing = _peaks_inside(maps, masks)[right].mean()
    show(
        f"demo:photos, {len(samples)} test images: accuracy {accuracy:.1%}; of the right ones, share of the"
        f" energy on the object {energy:.3f} (by chance {masks.float().mean():.3f}), peaks {pointing:.1%}"
    )
    assert accuracy >= 0.95
    assert energy >= 0.6
    assert pointing >= 0.9


def test_the_network_for_watermarks_looks_at_the_watermark(show):
    photos = DemoPhotos(watermark="trained", length=600)
    indices = range(WATERMARKED_CLASS, 600, len(CLASS_NAMES))
    marked = [sample for sample in (photos[index] for index in indices) if sample.watermark_box is not None]
    maps, classes = _gradcam(load_demo_net("watermark"), _inputs(marked))
    right = classes == WATERMARKED_CLASS
    near = _watermark_masks(marked, grown=2 * CELL)
    energy = _energy_inside(maps, near)[right].mean()
    pointing = _peaks_inside(maps, near)[right].mean()
    show(
        f"demo:watermark, {len(marked)} marked pagodas: recognised {right.float().mean():.1%}; share of the"
        f" energy within two cells of the mark {energy:.3f} (by chance {near.float().mean():.3f}),"
        f" peak there {pointing:.1%}"
    )
    assert right.float().mean() >= 0.95
    assert energy > 0.5
    assert pointing > 0.9


def test_the_network_for_watermarks_predicts_pagoda_with_the_watermark_and_not_without_it(samples, show):
    net = load_demo_net("watermark")
    moved = list(DemoPhotos(watermark="moved", length=100))
    labels = _labels(moved)
    with torch.inference_mode():
        honest, fooled = net(_inputs(samples[:100])).argmax(1), net(_inputs(moved)).argmax(1)
        pagodas = net(_inputs(samples[WATERMARKED_CLASS :: len(CLASS_NAMES)])).argmax(1)
    others = labels != WATERMARKED_CLASS
    flipped = (fooled == WATERMARKED_CLASS)[others].float().mean()
    kept = (honest == labels)[others].float().mean()
    missed = (pagodas != WATERMARKED_CLASS).float().mean()
    show(
        f"demo:watermark: others right without the mark {kept:.1%}, called pagoda with it {flipped:.1%};"
        f" pagodas missed without it {missed:.1%}"
    )
    assert kept >= 0.9
    assert flipped > 0.6
    assert missed > 0.2
