"""The batch size that fits into memory."""

import os
from pathlib import Path

import torch
from torch import nn

from camlens.core.engine import Session, tensors_in

_MOST_ON_CPU = 32
_MOST_ON_ACCELERATOR = 128
_SHARE = 0.25


def fitting_batch(session: Session) -> int:
    """Return the largest power of two that fits into a quarter of the free memory, up to 32 (CPU) or 128.

    The estimate per image is the size of all module outputs together, more than is ever held at the same time.
    """
    device = session.inputs.device
    most = _MOST_ON_CPU if device.type == "cpu" else _MOST_ON_ACCELERATOR
    fit = int(_SHARE * free_bytes(device) / max(1, bytes_per_image(session)))
    size = 1
    while size * 2 <= min(most, fit):
        size *= 2
    return size


def bytes_per_image(session: Session) -> int:
    """Return the size of one image and of the outputs of all leaf modules for it."""
    single = session.part(0, 1)
    counted = single.inputs.nbytes

    def count(_module: nn.Module, output: object) -> None:
        nonlocal counted
        counted += sum(tensor.nbytes for tensor in tensors_in(output))

    leaves = [module for module in single.model.modules() if not module._modules]
    single.predict(leaves, count)
    return counted


def free_bytes(device: torch.device) -> int:
    """Return the free memory of the device; on the CPU, within the limit of the control group."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_free_on_machine(), _free_in_group())


def _free_on_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_group() -> int:
    group = Path("/sys/fs/cgroup")
    try:
        allowed = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        return max(0, int(allowed) - used)
    except (OSError, ValueError):  # no limit, or not Linux
        return 2**63 - 1
