"""Balanced gradients against their reference, by their law of completeness, and without traces."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from camlens import Explainer, InputError, ModelError, explain
from tests.methods import reference
from tests.nets import TinyVit, images, seeded
from tests.refusals import refused
from tests.twins import twin_of

WIDTH = 12


def gelu_vit() -> TinyVit:
    model = TinyVit()
    for block in (model.block1, model.block2):
        block.activation = functional.gelu
        for norm in (block.norm1, block.norm2):
            nn.init.normal_(norm.weight, 1.0, 0.2)
            nn.init.normal_(norm.bias, 0.0, 0.2)
    return model


class Block(nn.Module):
    """A block of an attention and a gated MLP with RMS norms and layer scale, without biases."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        self.attention = attention
        self.norm1 = nn.RMSNorm(WIDTH)
        self.norm2 = nn.RMSNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.scale = nn.Parameter(torch.full((WIDTH,), 0.7))
        self.whole = nn.MultiheadAttention(WIDTH, 2, bias=False, batch_first=True)

    def attend(self, tokens: Tensor) -> Tensor:
        if self.attention == "module":
            return self.whole(tokens, tokens, tokens, need_weights=False)[0]
        heads = self.qkv(tokens).reshape(*tokens.shape[:2], 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        if self.attention == "fused":
            mixed = functional.scaled_dot_product_attention(query, key, value)
        elif self.attention == "cosine":
            logits = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
            mixed = torch.einsum("nhqk,nhkd->nhqd", (4 * logits).softmax(-1), value)
        else:
            mixed = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        return mixed.transpose(1, 2).flatten(2)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.scale * self.attend(self.norm1(tokens))
        gate, content = self.up(self.norm2(tokens)).chunk(2, dim=-1)
        return tokens + self.down(functional.silu(gate) * content)


class Transformer(nn.Module):
    def __init__(self, attention: str) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4, bias=False)
        self.blocks = nn.Sequential(*[Block(attention) for _ in range(3)])
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, 5, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patches(inputs).flatten(2).transpose(1, 2))).mean(dim=1))


class Convolutions(nn.Module):
    """In-place activations, group norm, squeeze and excitation, and a product of two feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, stride=2, bias=False)
        self.act = nn.Hardswish(inplace=True)
        self.norm = nn.GroupNorm(3, WIDTH)
        self.squeeze = nn.Conv2d(WIDTH, WIDTH, 1)
        self.left = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.right = nn.Conv2d(WIDTH, WIDTH, 1, bias=False)
        self.head = nn.Linear(WIDTH, 5, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.act(self.norm(self.stem(inputs)))
        features = features * self.squeeze(features.mean(dim=(2, 3), keepdim=True)).sigmoid()
        features = functional.mish(self.left(features) * self.right(features)) + functional.glu(
            torch.cat([features, features], 1), 1
        )
        features = features / (1 + features.norm(dim=1, keepdim=True))
        return self.head(functional.tanh(features).mean(dim=(2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "fused": lambda: Transformer("fused"),
    "module": lambda: Transformer("module"),
    "written out": lambda: Transformer("written out"),
    "cosine": lambda: Transformer("cosine"),
    "convolutions": Convolutions,
}


def blocks_of(model: TinyVit, *names: str) -> list[dict[str, np.ndarray]]:
    renamed = {"self_attn.in_proj_": "in.", "self_attn.out_proj.": "out.", "linear1": "up", "linear2": "down"}
    found = []
    for name in names:
        weights = {}
        for key, value in model.get_submodule(name).state_dict().items():
            for old, new in renamed.items():
                key = key.replace(old, new)
            weights[key] = value.double().numpy()
        found.append(weights)
    return found


@twin_of("balanced")
def test_the_map_equals_the_contribution_of_each_token_passed_alone() -> None:
    model, inputs = seeded(gelu_vit).double(), images(2).double()
    result = explain(model, inputs, method="balanced", layers="block1", target=3)
    tokens = model.block1(
        torch.cat([model.prefix.expand(2, -1, -1), model.patches(inputs).flatten(2).transpose(1, 2)], dim=1)
    )
    readout = model.head.weight[3].detach().numpy()
    for row in range(2):
        shares = reference.token_shares(tokens[row].detach().numpy(), blocks_of(model, "block2"), readout, heads=2)
        assert_close(result.maps["block1"][row, 0].flatten(), torch.from_numpy(shares[1:]), rtol=1e-9, atol=1e-12)
        gap = abs(shares[1:].sum() - float(result.scores[row, 0]))
        assert float(result.details["completeness_gap"][row, 0]) == pytest.approx(gap)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_times_input_adds_up_to_the_score_of_a_network_without_biases(name: str, frozen: bool) -> None:
    model, inputs = seeded(NETWORKS[name]).double().requires_grad_(not frozen), images(2).double()
    plain = explain(model, inputs, method="gradientxinput", target=1)
    balanced = explain(model, inputs, method="gradientxinput", target=1, gradients="balanced")
    assert_close(balanced.scores, plain.scores, rtol=1e-12, atol=1e-14)
    assert (balanced.details["completeness_gap"] <= 1e-6 * plain.scores.abs()).all()
    assert (plain.details["completeness_gap"] > 1e-2 * plain.scores.abs()).any()
    assert_close(balanced.maps["input"].sum(dim=(2, 3)), balanced.scores, rtol=1e-6, atol=0)


def test_the_method_is_hirescam_with_balanced_gradients_and_shares_a_call_with_plain_methods() -> None:
    model, inputs = seeded(gelu_vit), images(2)
    together = explain(model, inputs, method=["hirescam", "balanced"], layers="block1", target=3)
    assert_close(
        together["hirescam"].maps["block1"],
        explain(model, inputs, method="hirescam", layers="block1", target=3).maps["block1"],
    )
    same = explain(model, inputs, method="hirescam", layers="block1", target=3, gradients="balanced")
    assert_close(together["balanced"].maps["block1"], same.maps["block1"])
    assert not torch.allclose(same.maps["block1"], together["hirescam"].maps["block1"], rtol=1e-2)
    assert [together[name].provenance["gradients"] for name in together] == ["plain", "balanced"]


@pytest.mark.parametrize("method", ["gradcam", "fullgrad", "integratedgradients", "shapleycam", "smoothgradcam++"])
def test_methods_of_gradients_use_balanced_ones(method: str) -> None:
    model, inputs = seeded(lambda: Transformer("fused")), images(1)
    options: dict[str, Any] = {"integratedgradients": {"steps": 3}, "smoothgradcam++": {"samples": 2}}
    plain, balanced = (
        explain(
            model, inputs, method=method, layers="blocks.0", target=1, gradients=gradients, options=options.get(method)
        )
        for gradients in ("plain", "balanced")
    )
    (layer,) = plain.layers
    assert not torch.allclose(plain.maps[layer], balanced.maps[layer], rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_double(dtype: torch.dtype) -> None:
    model, inputs = seeded(lambda: Transformer("fused")).double(), images(1).double()
    expected = explain(model, inputs, method="balanced", layers="blocks.1", target=1).maps["blocks.1"]
    narrow = explain(model.to(dtype), inputs.to(dtype), method="balanced", layers="blocks.1", target=1)
    assert (
        float(functional.cosine_similarity(narrow.maps["blocks.1"].flatten(), expected.float().flatten(), dim=0)) > 0.98
    )


def test_other_threads_keep_their_gradients() -> None:
    other, tokens = seeded(lambda: Block("fused")), torch.randn(1, 4, WIDTH, generator=torch.Generator().manual_seed(3))

    def gradient() -> Tensor:
        leaf = tokens.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(other(leaf).square().sum(), leaf)[0]

    class Meanwhile(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            thread = threading.Thread(target=lambda: seen.append(gradient()))
            thread.start()
            thread.join()
            return features

    seen: list[Tensor] = []
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Meanwhile(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    expected = gradient()
    explain(model, images(1), layers="0", target=1, gradients="balanced")
    assert seen
    assert all(torch.equal(found, expected) for found in seen)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_of_the_mode_is_left_after_an_exception(error: type[BaseException]) -> None:
    class Failing(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            if len(torch.overrides._get_current_function_mode_stack()):
                raise error
            return features

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Failing(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(error):
        explain(model, images(1), layers="0", target=1, gradients="balanced")
    assert torch.overrides._get_current_function_mode_stack() == []


def test_checkpointing_is_refused_because_its_second_run_has_plain_gradients() -> None:
    class Checkpointed(Transformer):
        def forward(self, inputs: Tensor) -> Tensor:
            tokens = self.patches(inputs).flatten(2).transpose(1, 2)
            for block in self.blocks:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            return self.head(self.norm(tokens).mean(dim=1))

    model = seeded(lambda: Checkpointed("fused"))
    with refused("model.checkpoint-differs", ModelError):
        explain(model, images(1), method="balanced", layers="blocks.0", target=1)
    assert explain(model, images(1), method="hirescam", layers="blocks.0", target=1).maps["blocks.0"].any()


def test_an_unknown_rule_is_refused() -> None:
    with refused("argument.invalid", InputError, name="gradients", value="libra"):
        Explainer(seeded(gelu_vit), gradients="libra")  # type: ignore[call-overload]
