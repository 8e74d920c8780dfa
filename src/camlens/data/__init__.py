"""Decode images safely, open sources of labeled images, and compose the demo photographs."""

from typing import TYPE_CHECKING

from camlens.core.lazy import lazily

__all__ = ["DemoPhotos", "decode_image", "open_source"]

if TYPE_CHECKING:
    from camlens.data.decode import decode_image
    from camlens.data.demo import DemoPhotos
    from camlens.data.sources import open_source

__getattr__, __dir__ = lazily(
    __name__,
    {
        "DemoPhotos": "camlens.data.demo",
        "decode_image": "camlens.data.decode",
        "open_source": "camlens.data.sources",
    },
)
