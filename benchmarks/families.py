"""Check the default layer of many architectures: `python -m benchmarks.families [NAME ...] [--size N]`.

Weights are random and seeded; nothing is downloaded. For each model the table shows the layer that is chosen and its
layout, for how many quadrants of the image the grid reacts most in the same quadrant (4: the grid is right), the
largest relative difference to a Grad-CAM written with a forward hook and autograd, whether the forward pass gives the
same bits after a call, and the relative completeness gap of gradient x input with balanced gradients in float64,
without biases.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camlens import CamlensError, explain
from camlens.core.layouts import Layout

CLASS, CLASSES, IMAGES = 3, 10, 2
ADDED = (
    "bias",
    "pos_embed",
    "cls_token",
    "reg_token",
    "class_token",
    "dist_token",
    "position",
    "pixel_pos",
    "patch_pos",
)
TORCHVISION = "vit_b_32 swin_t swin_v2_t maxvit_t resnet18 convnext_tiny efficientnet_b0 vgg11 squeezenet1_1 alexnet"
TIMM = """
vit_tiny_patch16_224 vit_small_patch32_224 vit_tiny_r_s16_p8_224 vit_relpos_small_patch16_224
vit_small_patch14_reg4_dinov2 vit_small_patch16_dinov3 vit_base_patch16_siglip_224 vit_wee_patch16_reg1_gap_256
vit_medium_patch16_gap_240 deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224
eva02_tiny_patch14_224 beit_base_patch16_224 flexivit_small naflexvit_base_patch16_gap cait_xxs24_224 convit_tiny
crossvit_tiny_240 coat_tiny coat_lite_tiny coatnet_nano_rw_224 maxvit_nano_rw_256 maxvit_tiny_tf_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224 levit_128s levit_conv_128s efficientformer_l1
efficientformerv2_s0 efficientvit_b0 efficientvit_m0 hiera_tiny_224 mvitv2_tiny pit_ti_224 pit_ti_distilled_224
pvt_v2_b0 tnt_s_patch16_224 twins_pcpvt_small twins_svt_small visformer_tiny volo_d1_224 xcit_nano_12_p16_224
xcit_tiny_12_p8_224 mobilevit_xxs mobilevitv2_050 edgenext_xx_small davit_tiny nextvit_small fastvit_t8 fastvit_sa12
tiny_vit_5m_224 repvit_m0_9 poolformer_s12 poolformerv2_s12 caformer_s18 nest_tiny sequencer2d_s mixer_s32_224
resmlp_12_224 gmlp_ti16_224 gcvit_xxtiny focalnet_tiny_srf mambaout_femto shvit_s1 swiftformer_xs convnext_atto
convnextv2_atto resnet18 regnety_002 densenet121 efficientnet_b0 mobilenetv3_small_100 inception_v3 hrnet_w18_small
ghostnet_100 botnet26t_256 halonet26t lambda_resnet26t eca_botnext26ts_256 samvit_base_patch16_224 xception41
inception_next_atto dla34 nfnet_l0 cs3darknet_s vovnet39a mnasnet_small
"""
NAMES = [f"torchvision:{name}" for name in TORCHVISION.split()] + [f"timm:{name}" for name in TIMM.split()]
NAMES += [f"transformers:{name}" for name in ("vit", "vit-eager", "dinov2", "siglip", "swin", "pvt", "cvt", "deit")]


_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
_SWIN = {"img_size": 32, "patch_size": 2, "embed_dim": 12, "depths": (2, 1), "num_heads": (1, 2), "window_size": 4}
_PIT = {"img_size": 32, "patch_size": 4, "stride": 2, "stem_type": "overlap", "mlp_ratio": 2, "distilled": True}
_PVT = {"depths": (1,) * 4, "embed_dims": (8, 8, 16, 16), "num_heads": (1, 1, 2, 2), "mlp_ratios": (2,) * 4}
TINY: dict[str, tuple[str, dict[str, Any]]] = {  # a class of timm.models, and small sizes for it
    "vit": ("VisionTransformer", _VIT),
    "vit with registers": ("VisionTransformer", {**_VIT, "reg_tokens": 4, "init_values": 0.5}),
    "vit with pooling": ("VisionTransformer", {**_VIT, "class_token": False, "global_pool": "avg"}),
    "vit with attention pooling": ("VisionTransformer", {**_VIT, "class_token": False, "global_pool": "map"}),
    "vit with norms of queries": ("VisionTransformer", {**_VIT, "qk_norm": True}),
    "eva": ("Eva", {**_VIT, "use_rot_pos_emb": True, "swiglu_mlp": True, "scale_mlp": True}),
    "swin": ("SwinTransformer", _SWIN),
    "swin v2": ("SwinTransformerV2", _SWIN),
    "convit": ("ConVit", {**_VIT, "local_up_to_layer": 1}),
    "tnt": (
        "TNT",
        {"img_size": 32, "patch_size": 8, "embed_dim": 24, "inner_dim": 8, "depth": 2, "num_heads_outer": 2},
    ),
    "cait": ("Cait", {**_VIT, "depth_token_only": 1}),
    "distilled pit": ("PoolingVisionTransformer", {**_PIT, "base_dims": (12, 12), "depth": (1, 1), "heads": (1, 2)}),
    "pvt": ("PyramidVisionTransformerV2", _PVT),
}


@dataclass(frozen=True)
class Family:
    """What was measured for one architecture. `error` is the code of a refusal, or empty."""

    name: str
    layer: str = ""
    layout: str = ""
    quadrants: int = 0
    difference: float = float("nan")
    identical: bool = False
    completeness: float = float("nan")
    seconds: float = 0.0
    error: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the grid is aligned with the image and the map is that of the independent Grad-CAM."""
        return not self.error and self.quadrants == 4 and self.difference <= 1e-4 and self.identical


def built(name: str, size: int | None = None) -> tuple[nn.Module, int]:
    """Return a seeded model with 10 classes and its input size, which is `size` if the model can be built for it."""
    library, _, kind = name.partition(":")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model, size = _BUILDERS[library](kind, size)
        for parameter in model.parameters():
            if not parameter.any():  # many heads and biases are zero at first: nothing would depend on what they read
                nn.init.normal_(parameter, std=0.02)
    return model.eval(), size


def _of_torchvision(kind: str, size: int | None) -> tuple[nn.Module, int]:
    import torchvision

    options = {"image_size": size or 224} if kind.startswith("vit") else {}
    return torchvision.models.get_model(kind, weights=None, num_classes=CLASSES, **options), size or 224


def _of_timm(kind: str, size: int | None) -> tuple[nn.Module, int]:
    import timm

    model: nn.Module = timm.create_model(kind, pretrained=False, num_classes=CLASSES)
    own = model.pretrained_cfg["input_size"][-1]
    if size is None:
        return model, own
    try:
        return timm.create_model(kind, pretrained=False, num_classes=CLASSES, img_size=size), size
    except TypeError:  # the model has no such argument: convolutions run on any size
        return model, size


def _of_transformers(kind: str, _size: int | None) -> tuple[nn.Module, int]:
    import transformers

    small = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
    small |= {"image_size": 64, "patch_size": 8, "num_labels": CLASSES}
    if kind.startswith("vit"):
        config = transformers.ViTConfig(**small)
        config._attn_implementation = "eager" if kind == "vit-eager" else "sdpa"
        return transformers.ViTForImageClassification(config), 64
    if kind == "dinov2":
        return transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**small)), 64
    if kind == "deit":
        return transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**small)), 64
    if kind == "siglip":
        vision = transformers.SiglipVisionConfig(**small)
        config = transformers.SiglipConfig(vision_config=vision.to_dict(), num_labels=CLASSES)
        return transformers.SiglipForImageClassification(config), 64
    if kind == "swin":
        config = transformers.SwinConfig(
            image_size=64, embed_dim=24, depths=[2, 2, 2], num_heads=[2, 2, 4], window_size=4
        )
    else:
        config = {"pvt": transformers.PvtConfig, "cvt": transformers.CvtConfig}[kind]()
    config.num_labels = CLASSES
    classifier = {"swin": "Swin", "pvt": "Pvt", "cvt": "Cvt"}[kind]
    return getattr(transformers, f"{classifier}ForImageClassification")(config), 64 if kind == "swin" else 224


def _of_tiny(kind: str, _size: int | None) -> tuple[nn.Module, int]:
    import timm.models

    name, sizes = TINY[kind]
    modules = (getattr(timm.models, module) for module in dir(timm.models))
    builders = [getattr(module, name) for module in modules if hasattr(module, name)]
    return builders[0](num_classes=CLASSES, **sizes), sizes.get("img_size", 64)


_BUILDERS = {"torchvision": _of_torchvision, "timm": _of_timm, "transformers": _of_transformers, "tiny": _of_tiny}


def measured(name: str, size: int | None = None, *, completeness: bool = True) -> Family:
    """Build and measure one architecture, on images of `size` if it can run on them, else of its own size."""
    model, inputs = _runnable(name, size)
    start = time.perf_counter()
    try:
        with torch.no_grad():
            before = _logits(model(inputs))
        result = explain(model, inputs, target=CLASS)
        with torch.no_grad():
            identical = torch.equal(_logits(model(inputs)), before)
        (layer,) = result.layers
        layout = _layout(result.provenance["layout"][layer])
        expected = _gradcam(model, inputs, layer, layout)
        difference = float((result.maps[layer][:, 0] - expected).abs().max() / expected.abs().max())
        quadrants = _quadrants(model, inputs, layer, layout)
        gap = _completeness(model, inputs) if completeness else float("nan")
    except CamlensError as error:
        return Family(name, error=error.code, layer=str(error)[:100])
    seconds = time.perf_counter() - start
    return Family(name, layer, str(layout), quadrants, difference, identical, gap, seconds)


def _runnable(name: str, size: int | None) -> tuple[nn.Module, Tensor]:
    """The model and images that it can run on."""
    try:
        model, own_size = built(name, size)
        inputs = torch.randn(IMAGES, 3, own_size, own_size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            model(inputs)
    except (RuntimeError, AssertionError, ValueError):
        if size is None:
            raise
        return _runnable(name, None)
    return model, inputs


def _logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output["logits"] if "logits" in output else output[0]


def _layout(text: str) -> Layout:
    """Read a layout back from provenance: "tokens 14x14, 1 prefix tokens"."""
    first, *others = text.split(", ")
    kind, grid = first.split(" ")
    numbers = {other.partition(" ")[2]: int(other.split()[0]) for other in others if other[0].isdigit()}
    place = next((int(other.split()[-1]) for other in others if other.startswith("output tensor")), 0)
    return Layout(kind, tuple(map(int, grid.split("x"))), numbers.get("prefix tokens", 0), place)  # type: ignore[arg-type]


def _features(tensor: Tensor, layout: Layout) -> Tensor:
    """Arrange a layer's output as (n, k, *grid), without the code of camlens."""
    if layout.kind == "channels_first":
        return tensor
    if layout.kind == "channels_last":
        return tensor.permute(0, 3, 1, 2)
    if layout.kind == "tokens_first":
        tensor = tensor.transpose(0, 1)
    elif layout.kind == "channel_tokens":
        tensor = tensor.transpose(1, 2)
    return tensor[:, layout.prefix :].transpose(1, 2).reshape(len(tensor), tensor.shape[2], *layout.grid)


def _run(model: nn.Module, inputs: Tensor, layer: str, layout: Layout) -> tuple[Tensor, Tensor]:
    """The layer's output and the logits, by a forward hook."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            values = output.values() if isinstance(output, Mapping) else output
            output = [value for value in values if isinstance(value, Tensor)][layout.place]
        outputs.append(output)
        return None

    name, _, call = layer.partition("#")
    handle = model.get_submodule(name).register_forward_hook(keep)
    try:
        logits = _logits(model(inputs))
    finally:
        handle.remove()
    return outputs[int(call or 1) - 1], logits


def _gradcam(model: nn.Module, inputs: Tensor, layer: str, layout: Layout) -> Tensor:
    """Signed Grad-CAM (n, *grid) with a forward hook and autograd."""
    with torch.enable_grad():
        output, logits = _run(model, inputs.clone().requires_grad_(), layer, layout)
        (gradient,) = torch.autograd.grad(logits[:, CLASS].sum(), output)
    weights = _features(gradient, layout).mean(dim=(2, 3), keepdim=True)
    return (weights * _features(output.detach(), layout)).sum(dim=1)


@torch.no_grad()
def _quadrants(model: nn.Module, inputs: Tensor, layer: str, layout: Layout) -> int:
    """For how many quadrants of the image a change there changes the grid most in the same quadrant."""
    first = inputs[:1]
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(2))
    before = _features(_run(model, first, layer, layout)[0], layout)
    right = 0
    for place in range(4):
        mask = torch.zeros_like(first)
        _quarters(mask)[place].fill_(1)
        after = _features(_run(model, torch.where(mask > 0, noise, first), layer, layout)[0], layout)
        change = (after - before).norm(dim=1, keepdim=True)
        right += int(torch.stack([quarter.mean() for quarter in _quarters(change)]).argmax()) == place
    return right


def _quarters(maps: Tensor) -> list[Tensor]:
    """Views of the four corners of maps (..., h, w); the middle row and column of odd sizes belong to none."""
    high, wide = (max(1, size // 2) for size in maps.shape[-2:])
    rows, columns = (slice(None, high), slice(-high, None)), (slice(None, wide), slice(-wide, None))
    return [maps[..., row, column] for row in rows for column in columns]


def _completeness(model: nn.Module, inputs: Tensor) -> float:
    """The largest gap of gradient x input with balanced gradients, relative to the score, without biases."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if any(part.startswith(ADDED) or part.endswith("bias") for part in name.split(".")) or "running_mean" in name:
            tensor.data.zero_()
    result = explain(model.double(), inputs[:1].double(), method="gradientxinput", target=CLASS, gradients="balanced")
    return float((result.details["completeness_gap"] / result.scores.abs()).max())


def line(family: Family) -> str:
    """One row of the table."""
    if family.error:
        return f"| {family.name} | refused: {family.error} | {family.layer} | | | | | |"
    verdict = "" if family.is_right else " **not local**" if family.quadrants < 4 else " **wrong**"
    same = "yes" if family.identical else "no"
    return (
        f"| {family.name}{verdict} | {family.layer} | {family.layout} | {family.quadrants}/4 | {family.difference:.0e} "
        f"| {same} | {family.completeness:.0e} | {family.seconds:.1f} |"
    )


def rows(names: Sequence[str], measure: Callable[[str], Family]) -> Iterator[Family]:
    """Measure models one after the other; a model that cannot be built is an error of its own."""
    for name in names:
        try:
            yield measure(name)
        except Exception as error:  # noqa: BLE001 - the table must show all other models
            yield Family(name, error=type(error).__name__, layer=str(error).replace("\n", " ")[:100])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="Models such as timm:swin_tiny_patch4_window7_224.")
    parser.add_argument(
        "--size", type=int, default=112, help="Side of the images if the model can run on it (default: 112)."
    )
    parser.add_argument("--quick", action="store_true", help="Leave out completeness, which takes most of the time.")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print("| model | layer | layout | quadrants | difference | same bits | completeness | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    families = []
    for family in rows(chosen.names or NAMES, lambda name: measured(name, chosen.size, completeness=not chosen.quick)):
        families.append(family)
        print(line(family), flush=True)
    wrong = [family.name for family in families if not family.error and not family.is_right]
    refused = [family.name for family in families if family.error]
    print(f"\n{len(families)} models: {len(wrong)} wrong {wrong}, {len(refused)} refused {refused}")


if __name__ == "__main__":
    main()
