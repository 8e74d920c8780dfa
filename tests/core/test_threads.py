"""Any number of threads may explain one model at once."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explainer, explain
from tests.nets import ResidualNet, images, plain_cnn, seeded

THREADS, CALLS = 8, 50
METHODS = (
    "gradcam",
    "gradcam++",
    "layercam",
    "hirescam",
    "eigencam",
    "fullgrad",
    "scorecam",
    "ablationcam",
    "smoothgradcam++",
    "saliency",
    "gradientxinput",
    "rise",
    "winsorcam",
    "dff",
    "guidedgradcam",
)
QUICK: dict[str, dict[str, int]] = {"smoothgradcam++": {"samples": 2}, "rise": {"masks": 6}, "dff": {"concepts": 2}}


def jobs(layers: tuple[str, ...], seed: int) -> list[tuple[int, int, str, str]]:
    draw = random.Random(seed)
    return [
        (draw.randrange(6), draw.randrange(5), draw.choice(layers), METHODS[number % len(METHODS)])
        for number in range(CALLS)
    ]


def answer(model: nn.Module, pool: Tensor, job: tuple[int, int, str, str]) -> Tensor:
    image, target, layer, method = job
    asked = {"options": QUICK.get(method, {}), "layers": None if method == "winsorcam" else layer}
    result = explain(model, pool[image : image + 1], method=method, target=target, **asked)
    (maps,) = result.maps.values()
    return maps


@pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")
@pytest.mark.parametrize("training", [False, True])
def test_v12_eight_threads_times_fifty_calls_on_one_model_equal_each_alone(training: bool) -> None:
    model = seeded(ResidualNet).train(training)
    pool = images(6)
    layers = ("stem", "block1", "block1.conv2", "block2.conv1", "block2")
    work = [jobs(layers, seed) for seed in range(THREADS)]
    alone = {job: answer(model, pool, job) for thread in work for job in thread}
    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(lambda thread: [answer(model, pool, job) for job in thread], work))
    for thread, answers in zip(work, together, strict=True):
        for job, maps in zip(thread, answers, strict=True):
            assert_close(maps, alone[job], rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert all(module.training is training for module in model.modules())


def test_v13_one_shared_explainer_in_many_threads() -> None:
    model, pool = seeded(plain_cnn), images(6)
    explainer = Explainer(model, method="gradcam")
    alone = [explainer(pool[row : row + 1], target=row % 5) for row in range(6)]
    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(lambda n: explainer(pool[n % 6 : n % 6 + 1], target=n % 6 % 5), range(120)))
    for number, result in enumerate(results):
        assert_close(result.maps["5"], alone[number % 6].maps["5"], rtol=1e-4, atol=1e-6)


def test_a_thread_that_only_predicts_runs_the_plain_model() -> None:
    model, pool = seeded(ResidualNet), images(2)
    expected = model(pool).detach()
    seen = []

    def predict(_: int) -> None:
        with torch.no_grad():
            logits = model(pool)
        seen.append((logits.requires_grad, torch.equal(logits, expected)))

    def look(_: int) -> None:
        explain(model, pool, layers="block1", method="ablationcam", target=1)

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(job, n) for n in range(40) for job in (predict, look)]
        for future in futures:
            future.result()
    assert seen == [(False, True)] * 40
