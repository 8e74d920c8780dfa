"""Demo models without download: "demo:imagenet", "demo:photos" and "demo:watermark", which uses a shortcut."""

from collections.abc import Sequence

from camlens.core.errors import ModelError
from camlens.models import demo
from camlens.models.loading import LoadedModel, ModelRequest
from camlens.models.preprocess import Preprocess


def names() -> Sequence[str]:
    """Return the names of the demo models."""
    return ("imagenet", *demo.DEMO_WEIGHTS)


def load(request: ModelRequest) -> LoadedModel:
    """Load a demo model, with weights from this package or, for "imagenet", from an installed data package."""
    classes = 1000 if request.name == "imagenet" else len(demo.CLASS_NAMES)
    if request.weights is not None or request.num_classes not in (None, classes):
        raise ModelError(
            f"{request.spec} has fixed weights and {classes} classes: do not pass weights or num_classes",
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
