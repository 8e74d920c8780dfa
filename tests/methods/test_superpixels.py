"""LIME and KernelSHAP: closed forms on a linear model, the slow references, captum, and bad settings."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import Explanation, InputError, explain
from camlens.core.execution.draws import SeededDraws
from camlens.methods.superpixels import fair_draws, paired_draws
from camlens.targets import ClassScore
from tests.methods import reference
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused
from tests.twins import twin_of

pytestmark = pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning")

QUARTERS = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(8, 0).repeat_interleave(8, 1)
TARGETS = [ClassScore(0), ClassScore(3)]


class Linear(nn.Module):
    """Scores that are linear in the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 16 * 16, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs.flatten(1))


def effects(model: Linear, image: Tensor, labels: Tensor, baseline: float, target: int) -> list[float]:
    """What each segment adds to a linear score: the sum of weight times (pixel - baseline) over it."""
    weight = model.linear.weight[target].detach().view(3, 16, 16)
    terms = (weight * (image - baseline)).sum(dim=0)
    return [float(terms[labels == number].sum()) for number in range(int(labels.max()) + 1)]


def drawn(draws: Callable[..., Iterator[Tensor]], samples: int, segments: int, seed: int = 0) -> Tensor:
    """The first rows (samples, segments) that a method draws."""
    with SeededDraws(torch.Generator().manual_seed(seed)):
        return torch.cat(list(islice(draws(torch.ones(1, segments), num_interp_features=segments), samples))).bool()


def asked(method: str, model: nn.Module, inputs: Tensor, *, target: Any = None, **options: Any) -> Explanation:
    found: Explanation = explain(model, inputs, method=method, target=target or TARGETS, options=options, batch_size=7)
    return found


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_weights_of_a_linear_model_are_each_segments_effect(method: str) -> None:
    model, inputs = seeded(Linear), images()
    options: dict[str, Any] = {"ridge": 0.0} if method == "lime" else {}
    labels = torch.arange(256).view(16, 16) // 24  # eleven stripes: too many for KernelSHAP to ask all coalitions
    found = asked(method, model, inputs, segments=labels, samples=200, baseline=0.5, **options)
    expected = [[effects(model, image, labels, 0.5, target) for target in (0, 3)] for image in inputs]
    assert_close(found.details["weights"], torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert_close(found.details["r_squared"], torch.ones(2, 2), rtol=0, atol=1e-6)
    assert_close(found.maps["input"], torch.tensor(expected)[:, :, labels], rtol=1e-4, atol=1e-5)


@twin_of("kernelshap")
def test_kernelshap_with_all_coalitions_gives_the_shapley_values_of_any_model() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = asked("kernelshap", model, inputs, segments=QUARTERS, samples=14, baseline=0.0)
    for place, target in enumerate((0, 3)):

        def value(members: frozenset[int], target: int = target) -> float:
            kept = torch.isin(QUARTERS, torch.tensor(sorted(members), dtype=torch.long))
            with torch.no_grad():
                return float(model(inputs * kept)[0, target])

        expected = torch.tensor(reference.kernelshap(value, 4))
        assert_close(found.details["weights"][0, place], expected, rtol=1e-3, atol=1e-4)
        total = value(frozenset(range(4))) - value(frozenset())
        assert float(found.details["weights"][0, place].sum()) == pytest.approx(total, abs=1e-5)


def test_kernelshap_comes_near_the_shapley_values_with_fewer_coalitions() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    labels = torch.arange(9).view(3, 3).repeat_interleave(6, 0).repeat_interleave(6, 1)[:16, :16]
    exact = asked("kernelshap", model, inputs, segments=labels, samples=510, baseline=0.0).details["weights"]
    rough = asked("kernelshap", model, inputs, segments=labels, samples=200, baseline=0.0).details["weights"]
    assert not torch.equal(rough, exact)
    assert float((rough - exact).abs().max()) < 0.15 * float(exact.abs().max())
    assert_close(rough.sum(dim=2), exact.sum(dim=2), rtol=1e-4, atol=1e-5)


def test_coalitions_are_drawn_as_the_kernel_weighs_their_sizes_each_with_its_opposite() -> None:
    everything, nothing, *_ = rows = drawn(paired_draws, 8_002, 20, seed=3)
    assert everything.all()
    assert not nothing.any()
    sizes = torch.arange(1, 20, dtype=torch.float64)
    kernel = 1 / (sizes * (20 - sizes))
    shares = torch.bincount(rows[2:].sum(dim=1), minlength=21)[1:20] / 8_000
    assert_close(shares.double(), kernel / kernel.sum(), rtol=0, atol=0.02)
    assert torch.equal(rows[2::2], ~rows[3::2])


@pytest.mark.parametrize("ridge", [1.0, 0.1])
@twin_of("lime")
def test_lime_equals_its_reference_on_the_same_draws(ridge: float) -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = asked("lime", model, inputs, segments=QUARTERS, samples=40, ridge=ridge, kernel_width=0.3)
    present = drawn(fair_draws, 40, 4)
    mean = torch.stack([inputs[0, :, number == QUARTERS].mean(dim=1) for number in range(4)])
    absent = mean[QUARTERS].movedim(-1, 0)
    with torch.no_grad():
        scores = model(torch.where(present[:, QUARTERS][:, None], inputs, absent))
    for place, target in enumerate((0, 3)):
        weights, intercept, r_squared = reference.lime(
            present.double().numpy(), scores[:, target].double().numpy(), ridge, 0.3
        )
        assert_close(found.details["weights"][0, place].double(), torch.from_numpy(weights), rtol=1e-4, atol=1e-6)
        assert float(found.details["intercept"][0, place]) == pytest.approx(intercept, abs=1e-5)
        assert float(found.details["r_squared"][0, place]) == pytest.approx(r_squared, abs=1e-5)


def near(_original: Tensor, _perturbed: Tensor, interpretable: Tensor, **_: Any) -> float:
    distance = 1 - float(interpretable.mean(dtype=torch.float).sqrt())
    return float(np.sqrt(np.exp(-(distance**2) / 0.25**2)))


@pytest.mark.peers
def test_lime_equals_captums_after_the_same_seed() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    found = asked("lime", model, inputs, segments=QUARTERS, samples=60, baseline=0.0, target=ClassScore(2))
    ours = captum.attr.Lime(model, SkLearnRidge(alpha=1.0), near)

    def whole_image_first(image: Tensor, **settings: Any) -> Iterator[Tensor]:
        yield torch.ones(1, 4)
        while True:
            yield ours.perturb_func(image, **settings)

    theirs = captum.attr.Lime(model, SkLearnRidge(alpha=1.0), near, whole_image_first)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = theirs.attribute(
            inputs,
            target=2,
            feature_mask=QUARTERS[None, None],
            n_samples=60,
            perturbations_per_eval=10,
            return_input_shape=False,
        )
    assert_close(found.details["weights"][0], weights, rtol=1e-4, atol=1e-6)


@pytest.mark.peers
def test_kernelshap_draws_what_captum_draws_after_the_same_seed_and_gives_the_same_shares() -> None:
    model, inputs = seeded(Linear), images(1)
    labels = torch.arange(256).view(16, 16) // 24
    peer = captum.attr.KernelShap(model)
    mine, seen = drawn(paired_draws, 42, 11), []
    peer.similarity_func = lambda image, perturbed, present, **settings: (
        seen.append(present.bool()) or peer.kernel_shap_similarity_kernel(image, perturbed, present, **settings)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shares = peer.attribute(
            inputs, target=3, feature_mask=labels[None, None], n_samples=22, return_input_shape=False, baselines=0.5
        )
    assert torch.equal(torch.cat(seen), torch.cat([mine[:2], mine[2::2]]))
    found = asked("kernelshap", model, inputs, segments=labels, samples=40, baseline=0.5)
    assert_close(found.details["weights"][0, 1], shares[0], rtol=1e-3, atol=1e-4)


@pytest.mark.peers
def test_lime_equals_the_lime_package_on_its_own_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from lime import lime_image

    model, inputs = seeded(plain_cnn), images(1)
    pixels = inputs[0].movedim(0, -1).double().numpy()

    def classify(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(batch).movedim(-1, 1).float()).numpy()

    monkeypatch.setattr(lime_image, "tqdm", lambda rows: rows)
    peer = lime_image.LimeImageExplainer(random_state=0, feature_selection="none")
    theirs = peer.explain_instance(
        pixels, classify, labels=(2,), top_labels=None, num_samples=60, segmentation_fn=lambda _: QUARTERS.numpy()
    )
    state = np.random.RandomState(0)
    state.randint(0, high=1000)
    present = torch.from_numpy(state.randint(0, 2, 240).reshape(60, 4)).float()
    present[0] = 1

    def their_draws(_whole: Tensor, **_: Any) -> Iterator[Tensor]:
        yield from present.split(1)

    monkeypatch.setattr("camlens.methods.superpixels.fair_draws", their_draws)
    found = asked("lime", model, inputs, segments=QUARTERS, samples=60, target=ClassScore(2))
    expected = torch.tensor([weight for _, weight in sorted(theirs.local_exp[2])])
    assert_close(found.details["weights"][0, 0].double(), expected.double(), rtol=1e-3, atol=1e-5)
    assert float(found.details["r_squared"][0, 0]) == pytest.approx(float(theirs.score), abs=1e-4)


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_details_tell_the_segments_and_the_map_shows_their_weights(method: str) -> None:
    model, inputs = seeded(plain_cnn), images(3, size=(24, 20))
    found = asked(method, model, inputs, segments=9, samples=60, features=3)
    segments, weights = found.details["segments"], found.details["weights"]
    assert segments.shape == (3, 24, 20)
    assert weights.shape == (3, 2, int(found.details["segment_counts"].max()))
    for image in range(3):
        count = int(found.details["segment_counts"][image])
        assert sorted(segments[image].unique().tolist()) == list(range(count))
        assert not weights[image, :, count:].any()
        for target in range(2):
            row = weights[image, target]
            strongest = set(row.abs().topk(3).indices.tolist())
            shown = found.maps["input"][image, target]
            for number in range(count):
                expected = float(row[number]) if number in strongest else 0.0
                assert_close(shown[segments[image] == number].unique(), torch.tensor([expected]))
    assert bool((found.details["r_squared"] <= 1).all())


def test_lime_with_features_is_fitted_again_to_the_chosen_ones() -> None:
    model, inputs = seeded(plain_cnn), images(1)
    full = asked("lime", model, inputs, segments=QUARTERS, samples=60).details
    some = asked("lime", model, inputs, segments=QUARTERS, samples=60, features=2).details
    assert some["chosen"].sum(dim=2).tolist() == [[2, 2]]
    assert torch.equal(some["weights"] != 0, some["chosen"])
    assert bool((some["r_squared"] < full["r_squared"]).all())


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
def test_targets_share_the_forward_passes_and_the_seed_decides(method: str) -> None:
    model, inputs, seen = seeded(plain_cnn), images(1), []
    model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    options = {"segments": QUARTERS, "samples": 9} if method == "lime" else {"segments": 6, "samples": 20}
    both = asked(method, model, inputs, **options)
    count = sum(seen)
    one = asked(method, model, inputs, target=[ClassScore(3)], **options)
    assert sum(seen) == 2 * count
    assert_close(one.maps["input"][:, 0], both.maps["input"][:, 1], rtol=1e-3, atol=1e-5)
    again = asked(method, model, inputs, **options)
    assert torch.equal(again.maps["input"], both.maps["input"])
    other = explain(model, inputs, method="lime", target=TARGETS, options={"segments": QUARTERS, "samples": 9}, seed=1)
    assert not torch.equal(other.maps["input"], both.maps["input"])


def test_progress_reaches_the_end_and_raising_in_it_cancels() -> None:
    model, inputs, told = seeded(plain_cnn), images(2), []
    explain(
        model,
        inputs,
        method="lime",
        options={"segments": QUARTERS, "samples": 10},
        batch_size=4,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(4, 20), (8, 20), (10, 20), (14, 20), (18, 20), (20, 20)]

    def cancel(done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(model, inputs, method="lime", options={"segments": QUARTERS, "samples": 10}, progress=cancel)


BAD: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "no samples": ({"samples": 0}, "argument.invalid", {"name": "samples", "value": 0}),
    "one sample": ({"samples": 1}, "argument.invalid", {"name": "samples", "value": 1}),
    "one segment": ({"segments": 1}, "argument.invalid", {"name": "segments", "value": 1}),
    "no features": ({"features": 0}, "argument.invalid", {"name": "features", "value": 0}),
    "more features than segments": (
        {"segments": 5, "features": 6},
        "argument.invalid",
        {"name": "features", "value": 6, "segments": 5},
    ),
    "one label": ({"segments": torch.zeros(16, 16, dtype=torch.long)}, "segments.single", {"image": 0}),
    "labels of another size": (
        {"segments": torch.zeros(8, 8, dtype=torch.long)},
        "segments.labels",
        {"shape": (16, 16)},
    ),
    "floating labels": ({"segments": torch.zeros(16, 16)}, "segments.labels", {"dtype": "torch.float32"}),
    "unknown segmentation": (
        {"segmentation": "watershed"},
        "argument.invalid",
        {"name": "segmentation", "value": "watershed"},
    ),
    "unknown baseline": ({"baseline": "blur"}, "argument.invalid", {"name": "baseline", "value": "blur"}),
    "baseline of another shape": ({"baseline": torch.zeros(5, 16, 16)}, "baseline.shape", {"image": (3, 16, 16)}),
}


@pytest.mark.parametrize("method", ["lime", "kernelshap"])
@pytest.mark.parametrize("case", list(BAD))
def test_invalid_options_are_refused(method: str, case: str) -> None:
    options, code, facts = BAD[case]
    with refused(code, InputError, **facts):
        explain(seeded(plain_cnn), images(1), method=method, options=options)


def test_kernelshap_refuses_fewer_samples_than_segments_and_lime_a_kernel_without_width() -> None:
    with refused("argument.invalid", InputError, name="samples", value=3, segments=4):
        asked("kernelshap", seeded(plain_cnn), images(1), segments=QUARTERS, samples=3)
    with refused("argument.invalid", InputError, name="kernel_width", value=0):
        asked("lime", seeded(plain_cnn), images(1), kernel_width=0)


def test_progress_of_all_coalitions_ends_at_its_end() -> None:
    told: list[tuple[int, int]] = []
    explain(
        seeded(plain_cnn),
        images(2),
        method="kernelshap",
        options={"segments": QUARTERS, "samples": 500},
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1] == 2 * 2**4
