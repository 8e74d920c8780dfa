"""Where a model runs: the devices of this computer, and the one that a name means."""

import torch

from camlens.core.errors import ModelError


def available_devices() -> list[str]:
    """The kinds of device that this computer has, the fastest first: "cuda", "mps", "cpu"."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, is_available in accelerators.items() if is_available), "cpu"]


def chosen_device(device: str | torch.device) -> torch.device:
    """The device that a name means; "auto" is the fastest one. Raises ModelError for a device that is absent."""
    available = available_devices()
    try:
        chosen = torch.device(available[0] if device == "auto" else device)
        if chosen.type == "meta":
            raise RuntimeError("a meta device holds no values")
        torch.empty(0, device=chosen)  # fails if there is no such device
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ModelError(
            f"device {str(device)!r} is not available: choose one of {', '.join(['auto', *available])}",
            code="model.device-absent",
            device=str(device),
            available=available,
        ) from error
    return chosen
