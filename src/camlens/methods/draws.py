"""Random draws that do not depend on an image's place in its batch."""

import torch


def same_draws(generator: torch.Generator) -> torch.Generator:
    """A twin that starts where `generator` stands and leaves it untouched.

    Every image draws from its own twin, so that its map is the same alone, in a batch, and in half a batch.
    """
    twin = torch.Generator(device=generator.device)
    twin.set_state(generator.get_state())
    return twin
