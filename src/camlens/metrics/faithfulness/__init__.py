"""Faithfulness: agreement of the map with changes of the score.

masking: the image multiplied by its map; curves: cells removed or inserted in the order of the map; road: cells removed
and imputed; subsets: sums of the map over sets of cells, compared with the drop of the score.
"""

from camlens.metrics.faithfulness.curves import (
    area,
    deletion_auc,
    deletion_curves,
    flipping_curves,
    insertion_auc,
    insertion_curves,
    mean_drop,
    pixel_flipping_lerf,
    pixel_flipping_morf,
)
from camlens.metrics.faithfulness.imputation import imputed
from camlens.metrics.faithfulness.masking import average_drop, average_gain, increase_in_confidence
from camlens.metrics.faithfulness.road import mean_change, road_combined, road_lerf, road_morf, road_scores
from camlens.metrics.faithfulness.subsets import (
    faithfulness_correlation,
    gaussian_noise,
    infidelity,
    mu_fidelity,
    removed_squares,
    sensitivity_n,
    single_deletion,
)

__all__ = [
    "area",
    "average_drop",
    "average_gain",
    "deletion_auc",
    "deletion_curves",
    "faithfulness_correlation",
    "flipping_curves",
    "gaussian_noise",
    "imputed",
    "increase_in_confidence",
    "infidelity",
    "insertion_auc",
    "insertion_curves",
    "mean_change",
    "mean_drop",
    "mu_fidelity",
    "pixel_flipping_lerf",
    "pixel_flipping_morf",
    "removed_squares",
    "road_combined",
    "road_lerf",
    "road_morf",
    "road_scores",
    "sensitivity_n",
    "single_deletion",
]
