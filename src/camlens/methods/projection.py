"""Methods that project the cells of a layer on their first principal component."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.arguments import check_choice
from camlens.core.errors import LayerError, invalid_argument
from camlens.core.registry import register_method
from camlens.core.types import Features, Maps
from camlens.methods.gradient import hirescam

_KERNELS = ("sigmoid", "rbf", "poly", "linear")
_MOST_CELLS = 4096  # a kernel matrix of 64 x 64 cells: 64 MB per image
_UNDECIDED = 1e-5  # correlations below this are rounding error


@register_method(
    "eigencam",
    paper="Muhammad and Yeasin 2020, Eigen-CAM, arXiv 2008.00299",
    needs="activations",
    good_for="the main object, independent of the class; models without gradients",
)
def eigencam(activations: Features) -> Maps:
    """Project the cells on their first principal component, with the sign that makes strong activation positive.

    L = X v1, X the cells x channels matrix centered over the cells, v1 its first right singular vector
    (Muhammad and Yeasin 2020, arXiv 2008.00299). The sign of v1 is arbitrary and chosen so that the map correlates
    positively with the mean of A^2 over channels. Independent of the class.

        explain(model, images, method="eigencam")
    """
    return oriented(principal_projection(activations), towards=energy(activations))


@register_method(
    "eigengradcam",
    paper="Muhammad and Yeasin 2020, Eigen-CAM, arXiv 2008.00299, on gradient times activation",
    needs="gradients",
    good_for="Eigen-CAM of one class",
)
def eigengradcam(activations: Features, gradients: Features) -> Maps:
    """Project gradient times activation on its first principal component, with the sign of its sum over channels.

    L = X v1 as in Eigen-CAM (arXiv 2008.00299), X the cells x channels matrix of g * A, centered over the
    cells. The sign is chosen so that the map correlates positively with sum_k g_k A_k: positive is evidence for the
    class.

        explain(model, images, method="eigengradcam")
    """
    return oriented(principal_projection(gradients * activations), towards=hirescam(activations, gradients))


@register_method(
    "kpcacam",
    paper="Karmani et al. 2024, KPCA-CAM, arXiv 2410.00267",
    needs="activations",
    good_for="Eigen-CAM with nonlinear interactions of channels",
)
def kpcacam(activations: Features, *, kernel: str = "sigmoid", gamma: float | None = None) -> Maps:
    """Project the cells on their first kernel principal component, with the sign of the activation energy.

    L = sqrt(l1) u1 of the centered kernel matrix K of the centered cells (Karmani et al. 2024, arXiv
    2410.00267): sigmoid tanh(gamma x.y + 1), rbf exp(-gamma |x - y|^2), poly (gamma x.y + 1)^3, linear x.y
    (Eigen-CAM). `gamma` is 1 / channels by default. Unlike Eigen-CAM, the map depends on the scale of the
    activations. At most 4096 cells.

        explain(model, images, method="kpcacam", options={"kernel": "rbf"})
    """
    check_choice("kernel", kernel, _KERNELS)
    if gamma is not None and not 0 < gamma < float("inf"):
        raise invalid_argument("gamma", gamma, "a positive finite number or None (1 / channels)")
    grid = activations.shape[2:]
    if kernel == "linear":
        return eigencam(activations)
    if grid.numel() > _MOST_CELLS:
        raise LayerError(
            f"kpcacam supports at most {_MOST_CELLS} cells, as it compares all pairs, and the layer has "
            f"{grid.numel()} {tuple(grid)}: use a deeper layer or eigencam",
            code="layer.too-many-cells",
            cells=grid.numel(),
            allowed=_MOST_CELLS,
        )
    rows, scale = centered(activations)
    rows = _precise(rows)
    products = (rows.mT @ rows) * scale.square()
    similarity = _kernel_matrix(products, kernel, gamma or 1 / activations.shape[1])
    projection = _leading(similarity).reshape(-1, *grid).to(activations.dtype)
    return oriented(projection, towards=energy(activations))


def centered(features: Features) -> tuple[Float[Tensor, "n k p"], Float[Tensor, "n 1 1"]]:
    """Return the channels minus their mean over the cells, divided by the image's scale, and that scale.

    The first cell is subtracted before the mean, so constant channels become exactly zero. The scale keeps products
    of tiny gradients from underflowing; it is 1 if nothing varies.
    """
    flat = features.flatten(2)
    rows = flat - flat[:, :, :1]
    scale = rows.abs().amax(dim=(1, 2), keepdim=True)
    scale = scale.where(scale != 0, scale.new_ones(()))
    rows = rows / scale
    return rows - rows.mean(dim=2, keepdim=True), scale


def principal_projection(features: Features) -> Maps:
    """Project the cells on their first principal component, with arbitrary sign.

    For the leading term s1 u1 v1' of the centered cells x channels matrix X this is X v1 = s1 u1. u1 and s1^2 are the
    leading eigenpair of X X', v1 and s1^2 that of X' X; the smaller of these two matrices is decomposed.
    """
    rows, scale = centered(features)
    rows = _precise(rows)
    _, channels, positions = rows.shape
    if positions <= channels:
        values, vectors = _eigh(rows.mT @ rows)
        projection = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    else:
        _, vectors = _eigh(rows @ rows.mT)
        projection = (vectors[:, None, :, -1] @ rows).squeeze(1)
    return (projection * scale.flatten(1)).reshape(-1, *features.shape[2:]).to(features.dtype)


def oriented(projection: Maps, *, towards: Maps) -> Maps:
    """Return `projection` or its negative, whichever correlates positively with the map `towards`.

    If the correlation is zero, the value of the largest magnitude is made positive.
    """
    flat, guide = projection.flatten(1), towards.flatten(1)
    guide = guide - guide.mean(dim=1, keepdim=True)
    flat_unit, guide_unit = _unit(flat), _unit(guide)
    agreement = (flat_unit * guide_unit).sum(dim=1)
    peak = flat.amax(dim=1) + flat.amin(dim=1)
    flipped = agreement.where(agreement.abs() > _UNDECIDED, peak) < 0
    return projection.where(~flipped.reshape(-1, *[1] * (projection.ndim - 1)), -projection)


def energy(activations: Features) -> Maps:
    """Mean over channels of the squared activation, in units of the largest activation of the image."""
    flat = activations.flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    shares = flat / largest.where(largest != 0, largest.new_ones(()))
    return shares.reshape(activations.shape).square().mean(dim=1)


def _unit(flat: Tensor) -> Tensor:
    """Divide rows (n, p) by their norm, in two steps so that tiny rows do not underflow; zero stays zero."""
    largest = flat.abs().amax(dim=1, keepdim=True)
    shares = flat / largest.where(largest != 0, largest.new_ones(()))
    return torch.nn.functional.normalize(shares, dim=1, eps=1e-30)


def _precise(rows: Tensor) -> Tensor:
    """Convert to float64 if the device supports it, since products of rows lose half of the digits."""
    return rows if rows.device.type == "mps" else rows.double()


def _eigh(matrices: Float[Tensor, "n m m"]) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors. NaN entries count as 0: the caller's scale is NaN then."""
    values, vectors = torch.linalg.eigh(torch.nan_to_num(matrices))
    return values, vectors


def _kernel_matrix(products: Float[Tensor, "n p p"], kernel: str, gamma: float) -> Float[Tensor, "n p p"]:
    if kernel == "sigmoid":
        return torch.tanh(gamma * products + 1)
    if kernel == "poly":
        return (gamma * products + 1) ** 3
    norms = products.diagonal(dim1=1, dim2=2)
    distances = norms[:, :, None] + norms[:, None, :] - 2 * products
    return torch.exp(-gamma * distances.clamp_min(0))


def _leading(similarity: Float[Tensor, "n p p"]) -> Float[Tensor, "n p"]:
    """Return sqrt(l1) u1 of the doubly centered matrix, or zero if it is only rounding error."""
    largest = similarity.abs().amax(dim=(1, 2))[:, None]
    rows = similarity - similarity.mean(dim=2, keepdim=True)
    values, vectors = _eigh(rows - rows.mean(dim=1, keepdim=True))
    value = values[:, -1:]
    rounding = similarity.shape[1] * torch.finfo(similarity.dtype).eps * largest
    length = value.where(value > rounding, value.new_zeros(())).sqrt()
    return vectors[:, :, -1] * length + 0 * largest
