"""Methods of attention against their references, for fused and explicit attention and several heads."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from camlens import ClassBlindWarning, Explainer, ModelError, explain
from camlens.targets import PerImage
from tests.methods import reference
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

WIDTH, HEADS, LAYERS = 12, 2, 3
BACKENDS = ["module", "fused", "explicit"]
METHODS_OF_ATTENTION = ["attention", "rollout", "gae", "legrad"]


class Block(nn.Module):
    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.GELU(), nn.Linear(16, WIDTH))
        nn.init.normal_(self.attention.in_proj_weight, std=0.8)
        self.weights: list[Tensor] = []

    def attend(self, tokens: Tensor) -> Tensor:
        own = self.attention
        if self.backend == "module":
            return own(tokens, tokens, tokens, need_weights=False)[0]
        projected = functional.linear(tokens, own.in_proj_weight, own.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if self.backend == "fused":
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:
            matrix = (query @ key.transpose(-2, -1) / (WIDTH / HEADS) ** 0.5).softmax(-1)
            self.weights[:] = [matrix]
            mixed = matrix @ value
        return own.out_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attend(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Vit(nn.Module):
    """A ViT with one class token that it reads ("class") or drops ("mean"), or with attention pooling ("pool")."""

    def __init__(self, backend: str = "fused", head: str = "class") -> None:
        super().__init__()
        self.reads = head
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.blocks = nn.ModuleList(Block(backend) for _ in range(LAYERS))
        self.pool = Block(backend).attention
        self.query = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, 5)

    def classify(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        if self.reads == "pool":
            read = self.pool(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)[0][:, 0]
        else:
            read = tokens[:, 0] if self.reads == "class" else tokens[:, 1:].mean(dim=1)
        return self.classifier(read)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.classify(tokens)


Arrays = list[np.ndarray]


def explicit(head: str, inputs: Tensor, target: int) -> tuple[Arrays, Arrays, Arrays]:
    """Weights of one image, gradients of its score, and of the score after each layer, by autograd alone."""
    model = seeded(lambda: Vit("explicit", head)).double()
    tokens = model.patches(inputs).flatten(2).transpose(1, 2)
    tokens = torch.cat([model.token, tokens], dim=1)
    weights, own = [], []
    for block in model.blocks:
        tokens = block(tokens)
        weights += block.weights
        score = model.classify(tokens)[0, target]
        own.append(torch.autograd.grad(score, weights[-1], retain_graph=True)[0][0].numpy())
    gradients = torch.autograd.grad(score, weights)
    return [one.detach()[0].numpy() for one in weights], [one[0].numpy() for one in gradients], own


@pytest.mark.parametrize("head", ["class", "mean"])
@pytest.mark.parametrize("backend", BACKENDS)
@twin_of(*METHODS_OF_ATTENTION)
def test_the_maps_equal_the_equations_written_out(backend: str, head: str) -> None:
    model, inputs = seeded(lambda: Vit(backend, head)).double(), images(2).double()
    with pytest.warns(ClassBlindWarning):
        results = explain(model, inputs, method=METHODS_OF_ATTENTION, target=PerImage([1, 3]))
    for row, target in enumerate([1, 3]):
        weights, gradients, own = explicit(head, inputs[row : row + 1], target)
        rows = [0] if head == "class" else list(range(1, 17))
        expected = {
            "attention": reference.attention(weights[-1], rows),
            "rollout": reference.rollout(weights)[rows].mean(axis=0),
            "gae": reference.gae(weights, gradients)[rows].mean(axis=0),
            "legrad": reference.legrad(own),
        }
        for name, tokens in expected.items():
            found = results[name].maps["tokens"][row, 0]
            assert_close(found, torch.from_numpy(tokens[1:]).reshape(4, 4), rtol=1e-9, atol=1e-13, msg=name)
        assert results["gae"].details["prefix"] == 1
        assert results["gae"].details["attention_layers"] == LAYERS


def test_one_layer_one_head_and_one_query_of_attention() -> None:
    model, inputs = seeded(lambda: Vit("fused")).double(), images(1).double()
    weights, _, _ = explicit("class", inputs, 1)
    chosen = explain(model, inputs, method="attention", options={"layer": 0, "head": 1, "query": 6})
    expected = reference.attention(weights[0], [6], head=1)[1:]
    assert_close(chosen.maps["tokens"].flatten(), torch.from_numpy(expected), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("option", ["layer", "head", "query"])
def test_an_index_out_of_range_is_refused(option: str) -> None:
    with refused("argument.invalid", name=option, value=99):
        explain(seeded(Vit), images(1), method="attention", options={option: 99})


def test_attention_pooling_is_the_last_layer() -> None:
    model, inputs = seeded(lambda: Vit("fused", "pool")).double(), images(1).double()
    tokens: list[Tensor] = []
    handle = model.pool.register_forward_pre_hook(lambda _module, args: tokens.append(args[1]))
    model(inputs)
    handle.remove()
    _, pooled = model.pool(model.query, tokens[0], tokens[0], average_attn_weights=False)
    result = explain(model, inputs, method="attention", target=1)
    expected = reference.attention(pooled[0].detach().numpy(), [0])[1:]
    assert_close(result.maps["tokens"].flatten(), torch.from_numpy(expected), rtol=1e-9, atol=1e-13)
    weights, _, _ = explicit("pool", inputs, 1)
    expected = reference.attention(pooled[0].detach().numpy(), [0]) @ reference.rollout(weights)
    with pytest.warns(ClassBlindWarning):
        result = explain(model, inputs, method="rollout", target=1)
    assert_close(result.maps["tokens"].flatten(), torch.from_numpy(expected[1:]), rtol=1e-9, atol=1e-13)
    for method in ("gae", "legrad"):
        assert explain(model, inputs, method=method, target=1).maps["tokens"].std() > 0


class Counted(torch.overrides.TorchFunctionMode):
    """A mode of the user's that counts the calls of the fused kernel."""

    calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += func is functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def test_fused_kernels_run_as_before_and_the_model_and_modes_are_left_as_they_were() -> None:
    model, inputs = seeded(Vit), images(1)
    before, state = model(inputs), {name: value.clone() for name, value in model.state_dict().items()}
    with Counted() as counted:
        stack = torch.overrides._get_current_function_mode_stack()
        result = explain(model, inputs, method="gae", target=1)
        assert torch.overrides._get_current_function_mode_stack() == stack
    assert counted.calls == 2 * LAYERS  # one pass for the scores, and one for the attention
    assert torch.equal(model(inputs), before)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert_close(result.scores, before[:, 1:2])


class Windowed(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.patches = nn.Conv2d(3, WIDTH, 4, stride=4)
        self.block = Block("fused")
        self.reduce = nn.AvgPool1d(4)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        if self.kind == "attention.windowed":
            tokens = self.block(tokens.unflatten(1, (4, 4)).flatten(0, 1)).unflatten(0, (len(inputs), 4)).flatten(1, 2)
        elif self.kind == "attention.reduced":
            few = self.reduce(tokens.transpose(1, 2)).transpose(1, 2)
            tokens = functional.scaled_dot_product_attention(tokens[:, None], few[:, None], few[:, None])[:, 0]
        elif self.kind == "attention.several-grids":
            tokens = self.block(self.reduce(self.block(tokens).transpose(1, 2)).transpose(1, 2))
        elif self.kind == "attention.channels":
            across = self.block.norm1(tokens).transpose(1, 2)[:, None]
            tokens = functional.scaled_dot_product_attention(across, across, across)[:, 0].transpose(1, 2)
        return self.head(tokens.mean(dim=1))


@pytest.mark.parametrize(
    "code", ["attention.windowed", "attention.reduced", "attention.several-grids", "attention.channels"]
)
def test_attention_that_cannot_be_followed_is_refused_with_the_reason(code: str) -> None:
    with refused(code, ModelError):
        explain(seeded(lambda: Windowed(code)), images(2), method="gae", target=1)


@pytest.mark.parametrize("method", ["attention", "gae", "legrad"])
def test_a_model_without_attention_is_refused(method: str) -> None:
    with refused("attention.none", ModelError):
        explain(seeded(plain_cnn), images(1), method=method)


def test_layers_without_modules_of_their_own_are_refused_by_legrad() -> None:
    class Bare(Vit):
        def forward(self, inputs: Tensor) -> Tensor:
            tokens = self.patches(inputs).flatten(2).transpose(1, 2)
            for _ in range(2):
                tokens = functional.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None])[
                    :, 0
                ]
            return self.classifier(self.norm(tokens).mean(dim=1))

    with refused("attention.no-blocks", ModelError, layers=2):
        explain(seeded(Bare), images(1), method="legrad", target=1)
    assert explain(seeded(Bare), images(1), method="gae", target=1).maps["tokens"].shape == (1, 1, 4, 4)


def test_an_image_has_the_same_map_alone_and_in_a_batch_with_several_targets() -> None:
    model, inputs = seeded(Vit), images(2)
    explainer: Any = Explainer(model, method=["gae", "legrad"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = explainer(inputs, target=PerImage([1, 3]))
        for row, target in enumerate([1, 3]):
            alone = explainer(inputs[row : row + 1], target=target)
            for name in ("gae", "legrad"):
                assert_close(
                    together[name].maps["tokens"][row : row + 1], alone[name].maps["tokens"], rtol=1e-4, atol=1e-7
                )
