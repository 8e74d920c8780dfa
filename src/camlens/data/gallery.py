"""The source "demo:gallery": photographs of scikit-image and scikit-learn, and crops of them.

The correct ImageNet classes of each picture are listed by hand. Pictures without a correct class have no label.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from camlens.data.decode import Pixels
from camlens.data.photographs import open_photograph
from camlens.data.samples import Box, Sample, Samples


@dataclass(frozen=True)
class GalleryPicture:
    """A photograph, or the part in `box` (left, top, right, bottom), with its correct classes, best first."""

    name: str
    photograph: str
    classes: tuple[str, ...] = ()
    box: Box | None = None

    def load(self) -> Pixels:
        """Return the picture as RGB uint8 (H, W, 3)."""
        photograph = open_photograph(self.photograph)
        return np.array(photograph if self.box is None else photograph.crop(self.box))


_CAT = ("tiger cat", "Egyptian cat", "tabby")
_CUP = ("espresso", "cup", "coffee mug")
_HELMET = ("crash helmet", "football helmet")
_MOTORCYCLE = ("moped", "motor scooter")
_ROCKET = ("missile", "projectile")
_SHUTTLE = ("space shuttle", "missile", "projectile")

PICTURES = (
    GalleryPicture("astronaut", "astronaut.png", ("space shuttle", *_HELMET)),
    GalleryPicture("astronaut-portrait", "astronaut.png", (), (90, 0, 360, 330)),
    GalleryPicture("astronaut-helmet", "astronaut.png", _HELMET, (260, 330, 512, 512)),
    GalleryPicture("astronaut-shuttle", "astronaut.png", _SHUTTLE, (340, 0, 512, 310)),
    GalleryPicture("camera", "camera.png", ("tripod",)),
    GalleryPicture("camera-head", "camera.png", ("tripod",), (120, 40, 420, 240)),
    GalleryPicture("camera-tripod", "camera.png", ("tripod",), (230, 120, 440, 512)),
    GalleryPicture("camera-skyline", "camera.png", (), (340, 90, 512, 200)),
    GalleryPicture("cat", "chelsea.png", _CAT),
    GalleryPicture("cat-face", "chelsea.png", _CAT, (90, 20, 330, 290)),
    GalleryPicture("cat-eyes", "chelsea.png", _CAT, (90, 60, 380, 190)),
    GalleryPicture("cat-side", "chelsea.png", _CAT, (0, 0, 225, 300)),
    GalleryPicture("coffee", "coffee.png", _CUP),
    GalleryPicture("coffee-cup", "coffee.png", _CUP, (150, 20, 430, 330)),
    GalleryPicture("coffee-saucer", "coffee.png", _CUP, (60, 200, 520, 400)),
    GalleryPicture("coffee-spoon", "coffee.png", (), (290, 200, 460, 360)),
    GalleryPicture("motorcycle", "motorcycle_left.png", _MOTORCYCLE),
    GalleryPicture("motorcycle-right", "motorcycle_right.png", _MOTORCYCLE),
    GalleryPicture("motorcycle-front", "motorcycle_left.png", (*_MOTORCYCLE, "disk brake"), (430, 130, 741, 500)),
    GalleryPicture("motorcycle-wheel", "motorcycle_left.png", (*_MOTORCYCLE, "disk brake"), (60, 260, 320, 480)),
    GalleryPicture("motorcycle-engine", "motorcycle_left.png", _MOTORCYCLE, (280, 200, 500, 420)),
    GalleryPicture("motorcycle-tank", "motorcycle_left.png", _MOTORCYCLE, (230, 120, 560, 330)),
    GalleryPicture("workshop", "motorcycle_left.png", (), (250, 0, 741, 130)),
    GalleryPicture("rocket", "rocket.jpg", _ROCKET),
    GalleryPicture("rocket-pad", "rocket.jpg", _ROCKET, (220, 90, 430, 427)),
    GalleryPicture("rocket-alone", "rocket.jpg", _ROCKET, (270, 80, 370, 420)),
    GalleryPicture("palace", "china.jpg", ("palace",)),
    GalleryPicture("palace-tower", "china.jpg", ("palace",), (70, 20, 380, 380)),
    GalleryPicture("palace-roof", "china.jpg", ("palace", "tile roof"), (100, 10, 360, 200)),
    GalleryPicture("lake", "china.jpg", ("lakeside",), (360, 150, 640, 427)),
    GalleryPicture("flower", "flower.jpg"),
    GalleryPicture("flower-close", "flower.jpg", (), (160, 70, 450, 370)),
    GalleryPicture("horse", "horse.png", ("sorrel",)),
    GalleryPicture("clock", "clock_motion.png", ("wall clock", "analog clock")),
    GalleryPicture("coins", "coins.png"),
    GalleryPicture("retina", "retina.jpg"),
    GalleryPicture("moon", "moon.png"),
    GalleryPicture("page", "page.png"),
    GalleryPicture("handwriting", "text.png"),
    GalleryPicture("galaxies", "hubble_deep_field.jpg"),
)


def gallery() -> Samples:
    """Return the pictures as a source; labels are the best classes, and `accepted` has the others."""
    class_names = sorted({picture.classes[0] for picture in PICTURES if picture.classes})
    return Samples(class_names, len(PICTURES), partial(_sample, class_names))


def _sample(class_names: list[str], index: int) -> Sample:
    picture = PICTURES[index]
    best, accepted = (picture.classes[0], picture.classes[1:]) if picture.classes else (None, ())
    label = None if best is None else class_names.index(best)
    return Sample(picture.name, None, label, best, picture.load, accepted=accepted)
