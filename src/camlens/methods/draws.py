"""Random draws that do not depend on the position of an image in its batch."""

import torch


def same_draws(generator: torch.Generator) -> torch.Generator:
    """Return a copy of `generator` in its current state.

    Each image draws from its own copy, so its map does not depend on the rest of the batch.
    """
    copy = torch.Generator(device=generator.device)
    copy.set_state(generator.get_state())
    return copy
