"""Which demo photographs are shown: random ones, both kinds of predictions, and a caption that is true."""

from collections.abc import Sequence

import pytest
from torch import nn

from camlens.data.demo import CLASS_NAMES, DemoSample
from camlens.models.loading import LoadedModel
from camlens.models.preprocess import Preprocess
from camlens.panels import showcase
from camlens.panels.showcase import draw_samples

LOADED = LoadedModel(nn.Linear(1, 1), Preprocess(), list(CLASS_NAMES), None, "demo:photos")
SEED = 4


def judged(monkeypatch: pytest.MonkeyPatch, wrong: set[str], *, noisy: bool = True) -> None:
    """A model that errs on the named samples, and on noisy ones."""

    def judge(_loaded: LoadedModel, samples: Sequence[DemoSample]) -> list[bool]:
        names = [sample.name for sample in samples]
        return [name not in wrong and not (noisy and name.endswith("-noisy")) for name in names]

    monkeypatch.setattr(showcase, "_judged", judge)


def drawn_names(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """The names of the first samples in the seeded order."""
    judged(monkeypatch, set(), noisy=False)
    monkeypatch.setattr(showcase, "_MOST_TRIED", count)
    return [sample.name for sample in draw_samples(LOADED, count=count, seed=SEED).samples]


def test_a_draw_with_enough_mistakes_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    names = drawn_names(monkeypatch, 5)
    judged(monkeypatch, {names[1]})
    draw = draw_samples(LOADED, count=5, seed=SEED)
    assert [sample.name for sample in draw.samples] == names
    assert draw.tried == 5
    assert draw.caption == "5 random test images: 4 predicted rightly, 1 wrongly by demo:photos."


def test_missing_mistakes_are_sought_and_the_caption_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    names = drawn_names(monkeypatch, 12)
    judged(monkeypatch, {names[8]})
    monkeypatch.setattr(showcase, "_MOST_TRIED", 12)
    draw = draw_samples(LOADED, count=5, seed=SEED)
    assert [sample.name for sample in draw.samples] == [*names[:4], names[8]]
    assert draw.tried == 12
    assert "1 of them were sought on purpose among 12" in draw.caption


def test_a_model_without_mistakes_is_shown_on_noisy_images_and_the_caption_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged(monkeypatch, set())
    monkeypatch.setattr(showcase, "_MOST_TRIED", 8)
    draw = draw_samples(LOADED, count=5, seed=SEED)
    assert [sample.name.endswith("-noisy") for sample in draw.samples] == [False] * 4 + [True]
    assert "Of 8 clean images the model got every one right: noise was laid over 1 images" in draw.caption


def test_a_model_that_is_always_wrong_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showcase, "_judged", lambda _loaded, samples: [False] * len(samples))
    monkeypatch.setattr(showcase, "_MOST_TRIED", 7)
    draw = draw_samples(LOADED, count=5, seed=SEED)
    assert draw.caption == "5 random test images: 0 predicted rightly, 5 wrongly by demo:photos."


def test_the_draw_depends_on_its_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    judged(monkeypatch, set(), noisy=False)
    monkeypatch.setattr(showcase, "_MOST_TRIED", 3)
    first, again, other = (draw_samples(LOADED, count=3, seed=seed).samples for seed in (1, 1, 2))
    assert [one.name for one in first] == [one.name for one in again]
    assert all((one.image == two.image).all() for one, two in zip(first, again, strict=True))
    assert [one.name for one in first] != [one.name for one in other]
