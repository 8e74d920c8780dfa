"""Batches that do not fit into memory are halved, with the same result."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import InputError, explain
from camlens.core.execution.memory import _Watch
from tests.nets import images, plain_cnn, seeded

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")


@pytest.mark.parametrize(("method", "budget"), [("gradcam", 250_000), ("layercam", 250_000), ("ablationcam", 400_000)])
def test_a_memory_budget_gives_the_same_maps_in_smaller_batches(method: str, budget: int) -> None:
    model, inputs = seeded(plain_cnn), images(7, (32, 32))
    expected = explain(model, inputs, method=method, layers="5", target=[1, 2, 3, 4, 0, 1, 2])
    sizes: list[int] = []
    handle = model[0].register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    tight = explain(model, inputs, method=method, layers="5", target=[1, 2, 3, 4, 0, 1, 2], memory_budget=budget)
    handle.remove()
    assert sizes[0] == 7
    assert min(sizes) < 7
    # other batch sizes round otherwise, and ablation subtracts scores of order one from each other
    assert_close(tight.maps["5"], expected.maps["5"], rtol=1e-5, atol=1e-6)
    assert torch.equal(tight.classes, expected.classes)


def test_a_single_image_over_the_budget_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        explain(seeded(plain_cnn), images(4), layers="5", memory_budget=1000)
    assert caught.value.code == "memory.exhausted"


@pytest.mark.parametrize("budget", [0, -1, True, 1.5])
def test_an_invalid_budget_is_refused(budget: object) -> None:
    with pytest.raises(InputError) as caught:
        explain(seeded(plain_cnn), images(), layers="5", memory_budget=budget)
    assert caught.value.code == "argument.invalid"
    assert caught.value.facts == {"name": "memory_budget", "value": budget}


class RunsOutAbove(nn.Module):
    """A model that runs out of device memory on more than `most` images."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner = inner
        self.most = most

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return self.inner(inputs)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_an_out_of_memory_error_halves_the_batch(most: int) -> None:
    inner, inputs = seeded(plain_cnn), images(7)
    expected = explain(inner, inputs, layers="5", target=2)
    seen = explain(RunsOutAbove(inner, most).eval(), inputs, layers="inner.5", target=2)
    assert_close(seen.maps["inner.5"], expected.maps["5"], rtol=1e-5, atol=1e-7)
    assert_close(seen.logits, expected.logits)


def test_the_watch_counts_live_tensors_and_not_freed_ones() -> None:
    watch = _Watch(10**9)
    with watch:
        held = torch.zeros(1000)
        assert watch.held == 4000
        product = (held.requires_grad_() * 2).exp()
        assert watch.held == 8000  # exp keeps its result, not what it was made from
        del product
        assert watch.held == 4000
