"""The two networks in the package: "demo:photos" and "demo:watermark", which learned to cheat."""

from collections.abc import Sequence

from camlens.core.errors import ModelError
from camlens.models import demo
from camlens.models.loading import LoadedModel, ModelRequest, unknown_model
from camlens.models.preprocess import Preprocess


def names() -> Sequence[str]:
    """The demo networks."""
    return ("photos", "watermark")


def load(request: ModelRequest) -> LoadedModel:
    """A demo network with the weights that are part of the package."""
    if request.name not in names():
        raise unknown_model(request.spec, request.name, names())
    if request.weights is not None or request.num_classes not in (None, len(demo.CLASS_NAMES)):
        raise ModelError(f"{request.spec} brings its own weights and classes: leave out weights and num_classes")
    preprocess = Preprocess(resize=demo.SIZE, crop=(demo.SIZE, demo.SIZE), mean=tuple(demo.MEAN), std=tuple(demo.STD))
    model = demo.load_demo_net(request.name)
    return LoadedModel(model, preprocess, list(demo.CLASS_NAMES), demo.DEFAULT_LAYER, request.spec)
