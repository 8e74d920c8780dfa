"""Models that change themselves, compiled parts, other threads, copies and forks: everything is restored."""

import copy
import os
import pickle
import pickletools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout, relu
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from camlens import METHODS, CamlensError, Explainer, InputError, explain
from camlens.core.execution.harmless import Guard, harmless
from tests.core.test_harmless import OPTIONS, assert_untouched, fingerprint
from tests.nets import images, plain_cnn, seeded

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


class Net(nn.Module):
    """A small network whose subclasses misbehave between its two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def misbehave(self, features: Tensor) -> Tensor:
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.misbehave(relu(self.norm(self.first(inputs))))
        return self.head(relu(self.second(features)).mean(dim=(2, 3)))


class CachesTensors(Net):
    """As LeViT and EfficientFormer do with their attention biases in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(6))
        self.cache: dict[str, Tensor] = {}
        self.last: Tensor | None = None
        self.nested: list[dict[str, Tensor]] = []

    def misbehave(self, features: Tensor) -> Tensor:
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias * 2
        self.last = features.mean()
        self.nested.append({"mean": features.mean()})
        return features + self.cache["bias"][:, None, None]


class MovingAverage(Net):
    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.register_buffer("m", torch.randn(6))
        self.detached = detached

    def misbehave(self, features: Tensor) -> Tensor:
        mean = features.mean(dim=(0, 2, 3))
        self.m.mul_(0.9).add_(mean.detach() if self.detached else mean, alpha=0.1)
        return features - self.m[:, None, None]


class NoGradTrunk(MovingAverage):
    def forward(self, inputs: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.misbehave(relu(self.norm(self.first(inputs))))
        return self.head(relu(self.second(features)).mean(dim=(2, 3)))


class TrainsItsStatistics(Net):
    def misbehave(self, features: Tensor) -> Tensor:
        return batch_norm(features, self.norm.running_mean, self.norm.running_var, training=True)


class SwitchesToTraining(Net):
    def misbehave(self, features: Tensor) -> Tensor:
        return dropout(self.norm.train()(features), 0.0, self.training)


class ClipsWeights(Net):
    def misbehave(self, features: Tensor) -> Tensor:
        self.second.weight.data.clamp_(-0.05, 0.05)
        with torch.no_grad():
            self.head.weight.renorm_(2, 0, 0.1)
        return features


class Grows(Net):
    def misbehave(self, features: Tensor) -> Tensor:
        self.register_buffer("count", torch.ones(1))
        self.extra = nn.Identity()
        return self.extra(features)


class ReplacesBuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def misbehave(self, features: Tensor) -> Tensor:
        self.count = self.count + 1
        return features * self.count


class OddBuffers(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sparse", torch.eye(4).to_sparse())
        self.register_buffer("expanded", torch.full((1, 1), torch.nan).expand(3, 4))


class MonteCarloDropout(Net):
    def misbehave(self, features: Tensor) -> Tensor:
        return dropout(features, 0.5, True) * torch.rand_like(features)


SELFISH: dict[str, Callable[[], nn.Module]] = {
    "caches": CachesTensors,
    "moving average": lambda: MovingAverage(True),
    "moving average with a graph": lambda: MovingAverage(False),
    "no_grad trunk": lambda: NoGradTrunk(True),
    "no_grad trunk with a graph": lambda: NoGradTrunk(False),
    "trains its statistics": TrainsItsStatistics,
    "switches to training": SwitchesToTraining,
    "clips weights": ClipsWeights,
    "grows": Grows,
    "replaces a buffer": ReplacesBuffer,
    "odd buffers": OddBuffers,
    "dropout": MonteCarloDropout,
}


def state(model: nn.Module) -> dict[str, Any]:
    """A fingerprint in which writing back may count versions up, and plain attributes are not looked at."""
    before = fingerprint(model)
    del before["attributes"]
    before["parameters"] = [(name, id(one), one.requires_grad, id(one.grad)) for name, one in model.named_parameters()]
    before["weights"] = [one.detach().clone() for one in model.parameters()]
    before["buffers"] = [
        (name, id(one), one.requires_grad, one.to_dense().clone().nan_to_num(7.0))
        for name, one in model.named_buffers()
    ]
    return before


@pytest.mark.parametrize("name", list(SELFISH))
@pytest.mark.parametrize("method", ["gradcam", "fullgrad", "shapleycam", "ablationcam", "integratedgradients"])
@pytest.mark.parametrize("layer", ["first", "second"])
def test_a_model_that_changes_itself_is_restored(name: str, method: str, layer: str) -> None:
    model, inputs = seeded(SELFISH[name]), images(2)
    before = state(model)
    layers = None if METHODS[method].scope == "input" else layer
    results = [
        explain(model, inputs, method=method, layers=layers, target=1, options=OPTIONS.get(method)) for _ in range(3)
    ]
    assert_untouched(before, state(model))
    copy.deepcopy(model)
    (first,) = results[0].maps.values()
    assert first.isfinite().all()
    if (name, method) == ("dropout", "ablationcam"):
        return  # its draws depend on which modules run again
    for other in results[1:]:
        (maps,) = other.maps.values()
        assert_close(maps, first, rtol=0, atol=0)


def test_tensors_kept_by_a_model_have_no_graph_unless_they_had_one() -> None:
    model, inputs = seeded(CachesTensors), images(2)
    live = model.last = model.bias.sum() * 3
    explain(model, inputs, layers="first", target=1)
    assert model.last is live
    assert live.grad_fn is not None
    assert not any(one.requires_grad for one in model.cache.values())
    assert not any(one["mean"].requires_grad for one in model.nested)
    live.backward()


@pytest.mark.parametrize("name", ["levit_128s", "efficientformer_l1", "efficientvit_m0", "tiny_vit_5m_224"])
def test_cached_attention_biases_of_real_models_have_no_graph(name: str) -> None:
    timm = pytest.importorskip("timm")
    model = seeded(lambda: timm.create_model(name, num_classes=3))
    explain(model, images(1, (224, 224)), target=1)
    copy.deepcopy(model)


def test_a_user_hook_that_writes_to_a_buffer_of_a_torch_module() -> None:
    model, inputs = seeded(plain_cnn), images(2)
    model.register_buffer("calls", torch.zeros(()))
    model[0].register_forward_hook(lambda *_: model.calls.data.add_(1) and None)
    before = state(model)
    explain(model, inputs, layers="3")
    assert_untouched(before, state(model))


class Overwrites(nn.Module):
    """Writes in place to what autograd has saved."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.head, self.act = nn.Conv2d(3, 6, 3), nn.Linear(6, 4), act

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.act(self.conv(inputs).sigmoid()).square().mean(dim=(2, 3)))


IN_PLACE = {
    "add": (lambda x: x.relu_().add_(1), lambda x: relu(x) + 1),
    "mul": (lambda x: x.relu_().mul_(2), lambda x: relu(x) * 2),
    "sigmoid": (lambda x: x.sigmoid_().mul_(3), lambda x: x.sigmoid() * 3),
}


@pytest.mark.parametrize("act", list(IN_PLACE))
@pytest.mark.parametrize(
    "method", ["shapleycam", "integratedgradients", "fullgrad", "smoothgrad", "gradcam", "saliency"]
)
def test_maps_do_not_depend_on_in_place_operations(act: str, method: str) -> None:
    model = seeded(lambda: Overwrites(IN_PLACE[act][0]))
    plain = Overwrites(IN_PLACE[act][1]).eval()
    plain.load_state_dict(model.state_dict())
    layers = None if METHODS[method].scope == "input" else "conv"
    ours, theirs = (
        explain(one, images(2), method=method, layers=layers, target=1, options=OPTIONS.get(method))
        for one in (model, plain)
    )
    for name, maps in ours.maps.items():
        assert_close(maps, theirs.maps[name], rtol=1e-4, atol=1e-5 * float(maps.abs().max()))


class Checkpointed(Net):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, inputs: Tensor) -> Tensor:
        features = checkpoint(lambda x: relu(self.norm(self.first(x))), inputs, use_reentrant=self.reentrant)
        features = checkpoint(lambda x: relu(self.second(x)), features, use_reentrant=self.reentrant)
        return self.head(features.mean(dim=(2, 3)))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("method", ["gradcam", "fullgrad", "winsorcam", "saliency", "shapleycam"])
def test_checkpointed_models_give_the_plain_map_or_a_clear_error(method: str, reentrant: bool) -> None:
    model = seeded(lambda: Checkpointed(reentrant))
    plain = Net().eval()
    plain.load_state_dict(model.state_dict())
    layers = "first" if METHODS[method].scope == "layer" else None
    wanted = explain(plain, images(2), method=method, layers=layers, target=1)
    try:
        found = explain(model, images(2), method=method, layers=layers, target=1)
    except CamlensError:
        assert reentrant
        return
    for name, maps in wanted.maps.items():
        assert_close(found.maps[name], maps, rtol=1e-4, atol=1e-6)


def test_lazy_layers_that_have_not_run_are_refused() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(CamlensError) as caught:
        explain(model.eval(), images(1), layers="0")
    assert caught.value.code == "model.lazy"


def test_a_model_that_uses_vmap() -> None:
    class Mapped(Net):
        def misbehave(self, features: Tensor) -> Tensor:
            return torch.func.vmap(lambda one: one * 2)(features)

    model = seeded(Mapped)
    assert explain(model, images(2), layers="first", target=1).maps["first"].isfinite().all()


class WritesToSomeInputs(Net):
    """Writes to its input if that is dark, and always to what else it gets."""

    def forward(self, inputs: Tensor, extra: Tensor) -> Tensor:
        if inputs.mean() < 0:
            inputs.add_(1)
        extra.mul_(2)
        return super().forward(inputs)


@pytest.mark.parametrize("method", ["gradcam", "rise", "integratedgradients", "scorecam"])
def test_inputs_are_never_written_to(method: str) -> None:
    model, extra = seeded(WritesToSomeInputs), torch.ones(1)
    layers = None if METHODS[method].scope == "input" else "second"
    for inputs in (images(1).abs(), -images(1).abs()):
        kept = inputs.clone()
        explain(model, inputs, method=method, layers=layers, target=1, args=(extra,), options=OPTIONS.get(method))
        assert torch.equal(inputs, kept)
        assert extra.item() == 1


def compiled_whole(model: nn.Sequential) -> None:
    model.compile(backend="eager")


def compiled_block(model: nn.Sequential) -> None:
    model[0].compile(backend="eager")


def compiled_in_place(model: nn.Sequential) -> None:
    model[0] = torch.compile(model[0], backend="eager")


def blocks() -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
    return nn.Sequential(
        block,
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("compile_part", [compiled_whole, compiled_block, compiled_in_place])
@pytest.mark.parametrize("method", ["gradcam", "fullgrad", "winsorcam", "ablationcam", "guidedbackprop", "saliency"])
def test_compiled_parts_give_the_map_of_the_eager_model(
    method: str, compile_part: Callable[[nn.Module], None], used: bool
) -> None:
    model, inputs = seeded(blocks), images(2)
    expected = explain(model, inputs, method=method, target=1)
    compile_part(model)
    calls = [one._compiled_call_impl for one in model.modules()]
    if used:
        with torch.no_grad():
            model(inputs)
    found = explain(model, inputs, method=method, target=1)
    assert found.layers == expected.layers
    for name, maps in expected.maps.items():
        assert_close(found.maps[name], maps, rtol=1e-4, atol=1e-6)
    assert [one._compiled_call_impl for one in model.modules()] == calls
    if METHODS[method].scope == "layer":
        named = explain(model, inputs, method=method, layers="0.2", target=1)
        assert named.layers == ("0.2",)


def in_another_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("build", [plain_cnn])  # dropout takes no generator: docs/do-no-harm.md
def test_other_threads_random_numbers_are_not_rewound(build: Callable[[], nn.Module]) -> None:
    model, inputs = seeded(build), images(1)
    torch.manual_seed(5)
    expected = [torch.randint(2**40, ()).item() for _ in range(1000)]
    torch.manual_seed(5)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            explain(model, inputs, target=1)

    thread = in_another_thread(work)
    drawn = [torch.randint(2**40, ()).item() for _ in range(1000)]
    stop.set()
    thread.join()
    repeats = len(drawn) - len(set(drawn))
    assert repeats == 0
    if build is plain_cnn:
        assert drawn == expected


def paused(model: nn.Module, layer: str) -> tuple[threading.Thread, threading.Event, list[Any]]:
    """Another thread that explains `model`, held in the middle of its forward pass until the event is set."""
    begun, go_on, results = threading.Event(), threading.Event(), []

    def wait(output: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return output

    def work() -> None:
        results.append(explain(model, images(1), layers=layer, target=1, output=wait))

    thread = in_another_thread(work)
    assert begun.wait(60)
    return thread, go_on, results


def test_models_that_share_a_backbone_overlap() -> None:
    backbone = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)))
    first, second = (
        nn.Sequential(backbone, nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval() for _ in range(2)
    )
    expected = explain(second, images(1), layers="0.0", target=1).maps["0.0"]
    first.train(), second.train()
    both = nn.ModuleList([first, second])
    before = state(both)
    thread, go_on, _ = paused(first, "0.0")
    other, end, results = paused(second, "0.0")
    go_on.set()
    thread.join()  # the first one has ended, the second one is still running
    assert not backbone.training
    assert_close(explain(second, images(1), layers="0.0", target=1).maps["0.0"], expected)
    end.set()
    other.join()
    assert_close(results[0].maps["0.0"], expected)
    assert_untouched(before, state(both))


def test_explaining_a_model_and_a_part_of_it_at_once() -> None:
    model = seeded(plain_cnn).train()
    whole = nn.Sequential(model).train()
    before = state(whole)
    thread, go_on, _ = paused(whole, "0.3")
    part, end, _ = paused(model, "3")
    go_on.set()
    thread.join()
    assert not any(one.training for one in model.modules())
    end.set()
    part.join()
    assert_untouched(before, state(whole))


def test_eight_threads_on_a_model_that_counts_in_a_buffer() -> None:
    class Counts(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros((), dtype=torch.long))

        def misbehave(self, features: Tensor) -> Tensor:
            self.count += 1
            return features

    model = seeded(Counts)

    def work() -> None:
        for _ in range(10):
            explain(model, images(1), layers="second", target=1)

    threads = [in_another_thread(work) for _ in range(8)]
    for thread in threads:
        thread.join()
    assert model.count.item() == 0


@pytest.fixture
def explained() -> Iterator[nn.Module]:
    """A training model that another thread is in the middle of explaining."""
    model = seeded(plain_cnn).train()
    thread, go_on, _ = paused(model, "3")
    yield model
    go_on.set()
    thread.join()


def test_copies_and_pickles_taken_meanwhile_are_clean(explained: nn.Module) -> None:
    for twin in (copy.deepcopy(explained), pickle.loads(pickle.dumps(explained))):
        for module in twin.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
            assert module._compiled_call_impl is None
            assert "forward" not in vars(module)
    names = [argument for code, argument, _ in pickletools.genops(pickle.dumps(explained)) if isinstance(argument, str)]
    assert not any("camlens" in name for name in names)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_model_is_restored_in_a_forked_child(explained: nn.Module) -> None:
    child = os.fork()
    if child == 0:
        clean = all(one.training and one._compiled_call_impl is None for one in explained.modules())
        os._exit(0 if clean else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_explanations_their_maps_and_explainers_can_be_pickled() -> None:
    explainer = Explainer(seeded(plain_cnn), layers="3")
    result = explainer(images(1))
    maps = pickle.loads(pickle.dumps(result.maps))
    assert torch.equal(maps["3"], result.maps["3"])
    with pytest.raises(TypeError):
        maps["3"] = None
    again = pickle.loads(pickle.dumps(explainer))(images(1))
    assert torch.equal(again.maps["3"], result.maps["3"])


def test_statistics_of_a_float64_batch_norm_are_restored() -> None:
    model = seeded(TrainsItsStatistics).double()
    before = state(model)
    for _ in range(2):
        explain(model, images(2).double(), layers="second", target=1)
        assert_untouched(before, state(model))


def test_written_weights_are_restored_after_an_earlier_failure() -> None:
    model = seeded(ClipsWeights)
    before = state(model)
    hook = model.norm.register_forward_hook(struck)
    with pytest.raises(RuntimeError, match="struck"):
        explain(model, images(2), layers="second", target=1)
    hook.remove()
    explain(model, images(2), layers="second", target=1)
    assert_untouched(before, state(model))


def struck(*_: object) -> None:
    raise RuntimeError("struck")


@pytest.mark.parametrize("method", ["deeplift", "guidedgradcam", "ablationcam"])
def test_methods_that_run_part_of_the_model_restore_weights(method: str) -> None:
    class Renormalizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.head = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Linear(6, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            with torch.no_grad():
                self.conv.weight.renorm_(2, 0, 0.1)
            return self.head(self.relu(self.conv(inputs)).mean(dim=(2, 3)))

    model = seeded(Renormalizes)
    before = state(model)
    for _ in range(2):
        explain(model, images(3), method=method, target=1)
        assert_untouched(before, state(model))


def test_a_moving_average_is_detached_in_inference_mode() -> None:
    model = seeded(lambda: MovingAverage(False))
    before = state(model)
    with torch.inference_mode():
        explain(model, images(2), layers="first", target=1)
    assert_untouched(before, state(model))
    copy.deepcopy(model)


@pytest.mark.parametrize("method", ["gradcam", "rise", "ablationcam", "dff"])
def test_inputs_that_share_memory_are_not_written_to(method: str) -> None:
    class Masks(Net):
        def forward(self, inputs: Tensor) -> Tensor:
            inputs[..., :2] = 0  # which torch allows although the images share their memory
            return super().forward(inputs)

    model, inputs = seeded(Masks), images(1).expand(3, 3, 16, 16)
    layers = None if METHODS[method].scope == "input" else "first"
    explain(model, inputs, method=method, layers=layers, target=1, options=OPTIONS.get(method))
    assert torch.equal(inputs, images(1).expand(3, 3, 16, 16))


@pytest.mark.parametrize("budget", [20_000, 30_000, 50_000, 80_000, 120_000, 2**30])
def test_the_model_is_restored_after_a_batch_over_the_memory_budget(budget: int) -> None:
    model = seeded(lambda: MovingAverage(True))
    model.register_buffer("sparse", torch.eye(4).to_sparse())
    before = state(model)
    with suppress(InputError):
        explain(model, images(3), layers="second", target=1, memory_budget=budget)
    assert_untouched(before, state(model))


def test_a_block_interrupted_before_its_end_is_restored_at_once() -> None:
    model = seeded(plain_cnn).train()
    before = state(model)

    @harmless
    def interrupted() -> None:
        Guard(model, torch.device("cpu")).__enter__()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_untouched(before, state(model))
