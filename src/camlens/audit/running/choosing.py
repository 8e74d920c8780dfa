"""The attribution method of a run, chosen for the network if the user gives none."""

import torch

from camlens.core.engine import Capture, Session
from camlens.core.layers import LayerCall
from camlens.core.probe import Probe

_TOKENS = frozenset({"tokens", "tokens_first", "channel_tokens"})
_UNCHANGED = 0.01


def fitting_method(session: Session, layer: LayerCall, captured: Capture) -> tuple[str, str]:
    """Return "gradcam", "hirescam" or "balanced" and the reason, from a capture of one image at the layer.

    Grad-CAM weighs a channel by its mean gradient over the grid, which is exact if the network averages the features.
    If the network flattens them, their gradients differ from cell to cell and even in sign, and their mean says
    little; HiResCAM (Draelos and Carin 2020, arXiv 2011.08891) uses the gradient of each cell. Attention weighs tokens
    one by one, and its plain gradients do not add up: tokens get HiResCAM with balanced gradients.

    Whether the features are averaged is measured: their score then stays the same if they are shifted in a circle
    across the grid.
    """
    record = captured.records[layer.label]
    if record.layout.kind in _TOKENS:
        return "balanced", "the layer has tokens, which attention weighs one by one"
    features = record.activations[:1]
    down, across = (side // 2 for side in features.shape[2:])
    shifts = ((down, 0), (0, across), (down, across))
    shifted = torch.cat([features.roll(shift, dims=(2, 3)) for shift in shifts])
    probe = Probe(session, captured, record, torch.Generator())
    change = (probe.feature_scores(shifted, 0)[:, 0] - captured.scores[0, 0]).abs().mean()
    logits = captured.logits
    scale = captured.scores[0, 0] if logits is None else captured.scores[0, 0] - logits[0].mean()
    if change <= _UNCHANGED * scale:
        return "gradcam", "the network averages the features of the layer"
    return "hirescam", "the score depends on where in the grid the features are"
