"""Explanations by other libraries under our promises: LIME, KernelSHAP, Integrated Gradients and their kin.

Importing this package registers them beside our own methods in `METHODS`; the libraries themselves (extra
`attributions`) are imported when a method is called.
"""

from camlens.attributions import factorisation, guided, occlusion, paths, rules, superpixels
from camlens.core.registry import register_method
from camlens.methods import METHODS

__all__ = ["METHODS", "factorisation", "guided", "occlusion", "paths", "register_method", "rules", "superpixels"]
