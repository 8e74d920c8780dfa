"""The methods: pure functions from captured features and gradients, or from a probe of the model, to signed maps.

Importing this package fills `camlens.core.registry.METHODS`. Maps have the resolution of the layer, or of the input for
methods without a layer. They are rectified, normalized, resized and colored elsewhere. Optional libraries (extra
`attributions`) are imported when a method that needs them is called.
"""

import importlib
import pkgutil

from camlens.core.registry import METHODS, register_method

__all__ = ["METHODS", "register_method"]

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
