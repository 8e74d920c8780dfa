"""The vocabulary of every signature. Axes: n images, t targets, k channels, *grid spatial cells."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "n c *spatial"]
Features = Float[Tensor, "n k *grid"]
Maps = Float[Tensor, "n *grid"]
TargetMaps = Float[Tensor, "n t *grid"]
Heatmaps = Float[Tensor, "n t *size"]
Scores = Float[Tensor, "n t"]
Logits = Float[Tensor, "n classes"]
Classes = Int[Tensor, "n t"]
Mask = Bool[Tensor, "*size"]
