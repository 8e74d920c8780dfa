"""The optional libraries that these methods call, imported when one of them is called."""

import importlib
import random
import sys
from typing import Any

from camlens.core.errors import MissingExtraError

_PACKAGES = {"captum": "captum", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def library(module: str) -> Any:
    """The module named, or a MissingExtraError that says which extra brings it."""
    known, state = module in sys.modules, random.getstate()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError.of(_PACKAGES.get(package, package), "attributions") from error
    finally:
        if not known:
            random.setstate(state)  # some of them draw while they are imported
