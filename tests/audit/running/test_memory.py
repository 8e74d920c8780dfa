"""The batch size that fits into memory."""

import pytest
import torch
from torch import nn

from camlens.audit.running import memory
from camlens.core.execution.session import Session
from tests.nets import images, plain_cnn, seeded

CPU = torch.device("cpu")


def test_memory_per_image_is_the_size_of_all_leaf_outputs() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(4 * 14 * 14, 5))
    cells = 4 * 14 * 14
    wanted = 4 * (3 * 16 * 16 + 3 * cells + 5)
    assert memory.bytes_per_image(Session(model.eval(), images(6))) == wanted


@pytest.mark.parametrize(("images_that_fit", "batch"), [(1000, 32), (32, 32), (31, 16), (3, 2), (1, 1), (0, 1)])
def test_the_batch_size_is_a_power_of_two_that_fits_into_a_quarter_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, images_that_fit: int, batch: int
) -> None:
    session = Session(seeded(plain_cnn), images(1))
    free = 4 * images_that_fit * memory.bytes_per_image(session)
    monkeypatch.setattr(memory, "free_bytes", lambda _device: free)
    assert memory.fitting_batch(session) == batch


def test_free_memory_is_less_than_total_memory() -> None:
    psutil = pytest.importorskip("psutil")
    assert 0 < memory.free_bytes(CPU) <= psutil.virtual_memory().total
