"""A page of a convolution's learned weights, as small pictures with their statistics."""

from torch import nn

from camlens.anatomy.filters import filters
from camlens.core.errors import LayerError
from camlens.studio.encoding import byte_text
from camlens.studio.schemas import LearnedFilter, LearnedFilters


def learned_filters(module: nn.Module, layer: str, *, offset: int, limit: int) -> LearnedFilters:
    """A page of filters of a 2-D convolution. Raises LayerError for any other layer."""
    if not isinstance(module, nn.Conv2d):
        raise LayerError(
            f"layer {layer!r} is a {type(module).__name__}: only 2-D convolutions have filters to look at",
            code="layer.no-filters",
            type=type(module).__name__,
            layer=layer,
        )
    found = filters(module)
    page = range(offset, min(offset + limit, len(found)))
    pictures = [found.picture(index) for index in page]
    columns = (found.mean, found.deviation, found.minimum, found.maximum, found.norm)
    numbers = zip(*(column[offset : offset + limit].tolist() for column in columns), strict=True)
    height, width = pictures[0].pixels.shape[:2] if pictures else (0, 0)
    return LearnedFilters(
        layer=layer,
        shape=(height, width),
        colours=found.colours,
        weights=tuple(found.weights.shape),
        offset=offset,
        count=len(found),
        filters=tuple(
            LearnedFilter(
                index=index,
                shown=picture.shown,
                mean=mean,
                deviation=deviation,
                low=low,
                high=high,
                norm=norm,
                pixels=byte_text(picture.pixels),
            )
            for index, picture, (mean, deviation, low, high, norm) in zip(page, pictures, numbers, strict=True)
        ),
    )
