"""Decode images safely, open sources of labeled images, compose the demo photographs, and plant artefacts."""

from typing import TYPE_CHECKING

from camlens.core.lazy import lazily

__all__ = ["Artefact", "DemoPhotos", "decode_image", "open_source", "plant"]

if TYPE_CHECKING:
    from camlens.data.decode import decode_image
    from camlens.data.demo import DemoPhotos
    from camlens.data.planting import Artefact, plant
    from camlens.data.sources import open_source

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Artefact": "camlens.data.planting",
        "DemoPhotos": "camlens.data.demo",
        "decode_image": "camlens.data.decode",
        "open_source": "camlens.data.sources",
        "plant": "camlens.data.planting",
    },
)
