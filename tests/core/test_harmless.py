"""The model is restored bit for bit, after success and after an exception at any point."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import camlens
from camlens import METHODS, explain
from camlens.core.gradients import backward
from tests.nets import METHODS_OF_ANY_NETWORK, Untidy, images, plain_cnn, seeded

OPTIONS: dict[str, dict[str, int]] = {
    "smoothgradcam++": {"samples": 2},
    "sscam": {"samples": 2},
    "iscam": {"samples": 2},
    "rise": {"masks": 5},
    "dff": {"concepts": 2},
    "lime": {"samples": 12, "segments": 4},
    "kernelshap": {"samples": 12, "segments": 4},
    "integratedgradients": {"steps": 4},
    "smoothgrad": {"samples": 2},
}
# methods that never walk backwards cannot be struck there
FORWARD_ONLY = {"lime", "kernelshap", "occlusion", "rise", "rollout"}
POINTS = ("model", "hook", "target", "backward", "method")
ERRORS = (RuntimeError, KeyboardInterrupt)


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything about a model and the process that explaining must leave alone."""
    modules = list(model.named_modules())
    return {
        "modules": [(name, id(module)) for name, module in modules],
        "attributes": [(name, sorted(module.__dict__)) for name, module in modules],
        "training": [module.training for _, module in modules],
        "inplace": [getattr(module, "inplace", None) for _, module in modules],
        "hooks": [
            [list(hooks) for key, hooks in sorted(module.__dict__.items()) if key.endswith("_hooks")]
            for _, module in modules
        ],
        "hook dicts": [id(module._forward_hooks) for _, module in modules],
        "parameters": [
            (name, id(one), one.requires_grad, id(one.grad), one._version, one.detach().clone())
            for name, one in model.named_parameters()
        ],
        "gradients": [None if one.grad is None else one.grad.clone() for one in model.parameters()],
        "buffers": [(name, id(one), one.clone()) for name, one in model.named_buffers()],
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "random state": torch.get_rng_state(),
    }


def assert_untouched(before: Any, after: Any) -> None:
    if isinstance(before, Tensor):
        assert torch.equal(before, after)
    elif isinstance(before, dict):
        for key in before:
            assert_untouched(before[key], after[key])
    elif isinstance(before, list | tuple):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_untouched(one, other)
    else:
        assert before == after


def used_model() -> nn.Module:
    """A model in the middle of its life: partly frozen, partly training, with gradients and a user's hook."""
    model = seeded(plain_cnn)
    model(images()).sum().backward()
    model[0].requires_grad_(False)
    model.train()
    model[4].eval()
    model[3].register_forward_hook(lambda module, args, output: None)
    return model


def fails(error: type[BaseException]) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> Any:
        raise error("struck")

    return fail


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
def test_nothing_changes_on_success(method: str) -> None:
    model, inputs = used_model(), images()
    before = fingerprint(model)
    explain(model, inputs, method=method, layers=["2", "5"], options=OPTIONS.get(method))
    assert_untouched(before, fingerprint(model))


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_mode_of_the_caller_does_not_change_maps(method: str, mode: Callable[[], Any]) -> None:
    model, inputs = seeded(plain_cnn), images(1)
    layers = None if METHODS[method].scope == "input" else "3"
    call = functools.partial(
        explain, model, inputs, method=method, layers=layers, target=1, options=OPTIONS.get(method, {})
    )
    expected = call()
    with mode():
        found = call()
    for name, maps in expected.maps.items():
        assert_close(found.maps[name], maps)


@pytest.mark.parametrize(("method", "point"), list(itertools.product(METHODS, POINTS)))
@pytest.mark.parametrize("error", ERRORS)
def test_nothing_changes_on_an_exception(
    method: str, point: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = used_model(), images()
    chosen: Any = method
    target: Any = None
    entry = METHODS[method]
    if point == "model":
        model[6].forward = fails(error)
    elif point == "hook":
        model[6].register_forward_hook(fails(error))
    elif point == "target":
        target = fails(error)
    elif point == "backward":
        monkeypatch.setattr(torch.autograd, "grad", fails(error))
    else:
        failing = functools.wraps(entry.function)(fails(error))  # its options are still its own
        monkeypatch.setitem(METHODS._entries, method, dataclasses.replace(entry, function=failing))
    if point == "target" and entry.retarget is not None:
        error = camlens.TargetError if error is RuntimeError else error
    if point == "backward" and method in FORWARD_ONLY:
        pytest.skip("this method takes no gradient")
    before = fingerprint(model)
    with pytest.raises((error, camlens.CamlensError)):
        explain(model, inputs, method=chosen, layers=["2", "5"], target=target, options=OPTIONS.get(method))
    assert_untouched(before, fingerprint(model))


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam", "smoothgradcam++", "fullgrad"])
@pytest.mark.parametrize("call", range(1, 6))
def test_nothing_changes_when_the_model_fails_at_any_of_its_calls(method: str, call: int) -> None:
    model, inputs = used_model(), images()
    calls = 0

    def strike(_module: nn.Module, _args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    model[7].register_forward_pre_hook(strike)
    before = fingerprint(model)
    with contextlib.suppress(KeyboardInterrupt):
        explain(model, inputs, method=method, layers="5", options=OPTIONS.get(method))
    assert calls >= 1
    assert_untouched(before, fingerprint(model))


def test_buffers_and_random_state_are_restored() -> None:
    model, inputs = seeded(Untidy), images()
    before = fingerprint(model)
    first = explain(model, inputs, layers="conv", target=0)
    assert_untouched(before, fingerprint(model))
    assert_close(explain(model, inputs, layers="conv", target=0).maps["conv"], first.maps["conv"], rtol=0, atol=0)


def test_v5_a_training_model_is_explained_in_evaluation_mode_and_stays_training() -> None:
    model, inputs = seeded(plain_cnn), images()
    expected = explain(model, inputs, layers="5", target=0).maps["5"]
    model.train()
    assert_close(explain(model, inputs, layers="5", target=0).maps["5"], expected, rtol=0, atol=0)
    assert all(module.training for module in model.modules())


def test_inputs_are_not_written_to_and_keep_their_flags() -> None:
    inputs = images().requires_grad_()
    copy = inputs.detach().clone()
    explain(seeded(plain_cnn), inputs, layers="5", method="fullgrad")
    assert torch.equal(inputs.detach(), copy)
    assert inputs.grad is None
    assert inputs.requires_grad


def test_results_do_not_keep_the_graph_alive() -> None:
    result = explain(
        seeded(plain_cnn), images(), layers="5", target=[camlens.targets.ClassScore(1), lambda out: out[:, 0]]
    )
    assert not any(one.requires_grad for one in (result.maps["5"], result.scores, result.logits))


def test_the_patched_backward_is_the_one_that_runs() -> None:
    assert backward.torch.autograd is torch.autograd


class SwitchesGradOff(nn.Module):
    """A model whose own code runs under a mode without grad, as frozen backbones do."""

    def __init__(self, mode: Callable[[], Any]) -> None:
        super().__init__()
        self.inner, self.mode = seeded(plain_cnn), mode

    def forward(self, inputs: Tensor) -> Tensor:
        with self.mode():
            return self.inner(inputs)


@pytest.mark.parametrize("method", METHODS_OF_ANY_NETWORK)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_mode_of_the_model_does_not_change_maps(method: str, mode: Callable[[], Any]) -> None:
    model, inputs = SwitchesGradOff(mode).eval(), images(1)
    layers = None if METHODS[method].scope == "input" else "inner.3"
    options = OPTIONS.get(method, {})
    found = explain(model, inputs, method=method, layers=layers, target=1, options=options)
    plain = explain(model.inner, inputs, method=method, layers=layers and "3", target=1, options=options)
    for ours, theirs in zip(found.maps.values(), plain.maps.values(), strict=True):
        assert_close(ours, theirs)
