"""Import of the optional libraries that some methods call."""

import importlib
import random
import sys
from typing import Any

from camlens.core.errors import MissingExtraError

_PACKAGES = {"captum": "captum", "skimage": "scikit-image", "sklearn": "scikit-learn"}


def library(module: str) -> Any:
    """Import and return a module, or raise MissingExtraError naming the extra to install."""
    imported, state = module in sys.modules, random.getstate()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError.of(_PACKAGES.get(package, package), "attributions") from error
    finally:
        if not imported:
            random.setstate(state)  # some libraries draw random numbers when imported
