"""Models that need no download: "demo:imagenet", "demo:photos" and "demo:watermark", which learned to cheat."""

from collections.abc import Sequence

from camlens.core.errors import ModelError
from camlens.models import demo
from camlens.models.loading import LoadedModel, ModelRequest, unknown_model
from camlens.models.preprocess import Preprocess


def names() -> Sequence[str]:
    """The demo networks."""
    return ("imagenet", *demo.DEMO_WEIGHTS)


def load(request: ModelRequest) -> LoadedModel:
    """A demo network with weights from this package, or for "imagenet" from an installed data package."""
    if request.name not in names():
        raise unknown_model(request.spec, request.name, names())
    classes = 1000 if request.name == "imagenet" else len(demo.CLASS_NAMES)
    if request.weights is not None or request.num_classes not in (None, classes):
        raise ModelError(
            f"{request.spec} has its own weights and {classes} classes: leave out weights and num_classes",
            code="model.fixed-weights",
            spec=request.spec,
            classes=classes,
        )
    if request.name == "imagenet":
        from camlens.models.imagenet import load_imagenet  # timm and torchvision are optional

        return load_imagenet(request.spec)
    preprocess = Preprocess(resize=demo.SIZE, crop=(demo.SIZE, demo.SIZE), mean=tuple(demo.MEAN), std=tuple(demo.STD))
    model = demo.load_demo_net(request.name)
    return LoadedModel(model, preprocess, list(demo.CLASS_NAMES), demo.DEFAULT_LAYER, request.spec)
