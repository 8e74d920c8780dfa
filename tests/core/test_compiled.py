"""`Explainer.optimized(compiled=True)`: the same maps from a graph, and the given model where that fails."""

import shutil
import threading

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explainer, explain
from camlens.core.optimized import compiling
from camlens.targets import ClassScore
from tests.nets import ResidualNet, images, plain_cnn, seeded

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++: apt-get install g++")
pytestmark = [
    pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the compiler's own imports
]


class WritesInPlace(nn.Module):
    """An in-place ReLU follows the layer, and a branch passes it by."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.side = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        side = self.side(inputs)
        features = self.relu(self.deep(self.relu(self.stem(inputs))))
        return self.head((features * side).mean(dim=(2, 3)))


def uncompiled(graph: torch.fx.GraphModule, _example: Tensor) -> torch.fx.GraphModule:
    """Stands for the compiler where only the division of the graph is looked at."""
    return graph


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_compiled", uncompiled)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("layers", ["stem", "deep", ["stem", "deep"], ["deep", "relu#2"]])
def test_a_graph_gives_the_maps_of_the_model_also_before_in_place_code(layers: str | list[str]) -> None:
    model, inputs = seeded(WritesInPlace), images(2, (16, 16))
    expected = explain(model, inputs, layers=layers, target=1)
    faster = Explainer(model, layers=layers).optimized(inputs, compiled=True)
    found = faster(inputs, target=1)
    compiled = "compiled" in found.provenance["optimized"]["steps"]
    assert compiled is ("relu#2" not in layers)
    for name, maps in expected.maps.items():
        assert_close(found.maps[name], maps, rtol=1e-4, atol=1e-6)
    assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-6)


@needs_compiler
@pytest.mark.slow
def test_compiled_maps_are_those_of_the_given_model_for_every_batch_size() -> None:
    model, inputs = seeded(ResidualNet), images(5, (32, 32))
    layer = "last" if "last" in dict(model.named_modules()) else Explainer(model)(inputs).layers[0]
    faster = Explainer(model, layers=layer).optimized(inputs[:2], compiled=True)
    facts = faster(inputs[:2]).provenance["optimized"]
    assert facts["steps"][-1] == "compiled", facts["reason"]
    assert facts["error"] < 1e-4
    for count in (1, 2, 5):
        expected = explain(model, inputs[:count], layers=layer, target=2)
        found = faster(inputs[:count], target=2)
        assert_close(found.heatmaps(), expected.heatmaps(), rtol=0, atol=1e-4)
        assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.slow
def test_a_compiled_model_serves_targets_methods_and_threads() -> None:
    model, inputs = seeded(ResidualNet), images(2, (32, 32))
    methods, targets = ["gradcam", "layercam", "ablationcam"], [ClassScore(0), ClassScore(3)]
    plain = Explainer(model, method=methods)
    faster = plain.optimized(inputs, compiled=True)
    expected = plain(inputs, target=targets)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(5):
            for name, found in faster(inputs, target=targets).items():
                (maps,), (wanted,) = found.maps.values(), expected[name].maps.values()
                if not torch.allclose(maps, wanted, rtol=1e-3, atol=1e-5):
                    wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    (one,) = [explanation.provenance["optimized"] for explanation in list(faster(inputs).values())[:1]]
    assert "compiled" in one["steps"], one["reason"]


@pytest.mark.usefixtures("no_compiler")
def test_gradients_with_respect_to_the_input_pass_through_the_graph() -> None:
    model, inputs = seeded(plain_cnn), images(2, (16, 16))
    faster = Explainer(model, layers="5").optimized(inputs, compiled=True)
    assert "compiled" in faster(inputs).provenance["optimized"]["steps"]
    ours, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(faster.model(ours)[:, 1].sum(), ours)
    (expected,) = torch.autograd.grad(model(theirs)[:, 1].sum(), theirs)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_compiler_that_fails_leaves_the_eager_copy_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_graph: object, _example: object) -> None:
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(compiling, "_compiled", fail)
    model, inputs = seeded(plain_cnn), images(2, (16, 16))
    faster = Explainer(model, layers="5").optimized(inputs, compiled=True)
    facts = faster(inputs).provenance["optimized"]
    assert "compiled" not in facts["steps"]
    assert facts["reason"] == "compiling failed: RuntimeError: no C++ compiler"
    assert_close(faster(inputs).heatmaps(), explain(model, inputs, layers="5").heatmaps(), rtol=0, atol=1e-4)


@pytest.mark.usefixtures("no_compiler")
def test_fullgrad_and_models_with_more_inputs_are_not_compiled() -> None:
    model, inputs = seeded(plain_cnn), images(2, (16, 16))
    facts = Explainer(model, method="fullgrad").optimized(inputs, compiled=True)(inputs).provenance["optimized"]
    assert "compiled" not in facts["steps"]
    assert "single layers" in facts["reason"]
    chosen = Explainer(model, layers="5", output=lambda logits: logits[:, :3])
    facts = chosen.optimized(inputs, compiled=True)(inputs).provenance["optimized"]
    assert "compiled" not in facts["steps"]
    assert "images alone" in facts["reason"]
