"""Faithfulness: agreement of the map with changes of the score.

masking: the image multiplied by its map; curves: cells removed or inserted in the order of the map; road: cells removed
and imputed; subsets: sums of the map over random sets of cells, compared with the drop of the score.
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
