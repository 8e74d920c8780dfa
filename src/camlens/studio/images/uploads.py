"""Images that people bring: decoded safely, kept as pixels only, bounded, never given back as sent."""

import hashlib

from camlens.core.errors import DataError
from camlens.data.decode import FORMATS, decode_image
from camlens.studio.cache import ByteCache
from camlens.studio.encoding import bounded
from camlens.studio.images.labels import Pixels
from camlens.studio.settings import StudioSettings

__all__ = ["FORMATS", "Uploads"]
_LONGEST = 2048


class Uploads:
    """Uploaded images by id; the oldest go when there are too many."""

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        self._images: ByteCache[Pixels] = ByteCache(settings.kept_uploads_bytes)

    def add(self, body: bytes) -> str:
        """Decode the upload and return its id. Raises DataError for what is no allowed image."""
        bounds = self.settings
        image = decode_image(body, max_pixels=bounds.upload_pixels, max_bytes=bounds.upload_bytes, enough=_LONGEST)
        smaller = bounded(image, _LONGEST)  # no model here sees more
        name = "u" + hashlib.sha256(smaller.tobytes()).hexdigest()[:16]
        self._images.put(name, smaller, smaller.nbytes)
        return name

    def find(self, name: str) -> Pixels:
        """The pixels of an upload, or a DataError where it is no longer here."""
        image = self._images.get(name)
        if image is None:
            raise DataError("this upload is no longer kept: bring the image again", code="image.dropped")
        return image
