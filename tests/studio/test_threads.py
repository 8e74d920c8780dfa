from threading import Thread

import pytest
import torch
from torch import nn

from camlens.models import LoadedModel, load_model
from camlens.studio import threads
from camlens.studio.threads import use_suitable_threads


def chosen(loaded: LoadedModel, example: torch.Tensor) -> tuple[int, int]:
    """Return the number of threads in a new thread before and after the choice."""
    counts: list[int] = []

    def settle() -> None:
        torch.set_num_threads(2)
        counts.append(torch.get_num_threads())
        counts.append(use_suitable_threads(loaded, example))

    worker = Thread(target=settle)
    worker.start()
    worker.join()
    return counts[0], counts[1]


def test_a_small_model_uses_one_thread() -> None:
    before = torch.get_num_threads()
    assert chosen(load_model("demo:photos"), torch.zeros(1, 3, 128, 128)) == (2, 1)
    assert torch.get_num_threads() == before


def test_a_large_model_keeps_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten())
    small = load_model("demo:photos")
    large = LoadedModel(net, small.preprocess, ["one"], None, "large")
    monkeypatch.setattr(threads, "SMALL_MODEL", 0.0)
    assert chosen(large, torch.zeros(1, 3, 8, 8)) == (2, 2)
