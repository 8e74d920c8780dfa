"""The devices of this computer."""

import torch

from camlens.core.errors import ModelError


def available_devices() -> list[str]:
    """Return the available kinds of device, fastest first: "cuda", "mps", "cpu"."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, is_available in accelerators.items() if is_available), "cpu"]


def chosen_device(device: str | torch.device) -> torch.device:
    """Return the device with this name; "auto" is the fastest one. Raises ModelError if it is not available."""
    available = available_devices()
    try:
        chosen = torch.device(available[0] if device == "auto" else device)
        if chosen.type == "meta":
            raise RuntimeError("a meta device holds no values")
        torch.empty(0, device=chosen)  # fails if the device does not exist
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ModelError(
            f"device {str(device)!r} is not available: choose one of {', '.join(['auto', *available])}",
            code="model.device-absent",
            device=str(device),
            available=available,
        ) from error
    return chosen
