"""Does the score follow the map? Four ways of asking.

masking: the image under its map; curves: places taken or put back in the map's order; road: places taken so
that the hole tells nothing (filled by imputation); subsets: random sets of places against the map's sums.
"""

from camlens.metrics.faithfulness.curves import (
    deletion_auc,
    flipping_curves,
    insertion_auc,
    pixel_flipping_lerf,
    pixel_flipping_morf,
)
from camlens.metrics.faithfulness.imputation import imputed
from camlens.metrics.faithfulness.masking import average_drop, average_gain, increase_in_confidence
from camlens.metrics.faithfulness.road import road_combined, road_lerf, road_morf, road_scores
from camlens.metrics.faithfulness.subsets import (
    faithfulness_correlation,
    gaussian_noise,
    infidelity,
    mu_fidelity,
    removed_squares,
    sensitivity_n,
)

__all__ = [
    "average_drop",
    "average_gain",
    "deletion_auc",
    "faithfulness_correlation",
    "flipping_curves",
    "gaussian_noise",
    "imputed",
    "increase_in_confidence",
    "infidelity",
    "insertion_auc",
    "mu_fidelity",
    "pixel_flipping_lerf",
    "pixel_flipping_morf",
    "removed_squares",
    "road_combined",
    "road_lerf",
    "road_morf",
    "road_scores",
    "sensitivity_n",
]
