"""Draw maps: color maps, overlays and figures from arrays."""

from typing import TYPE_CHECKING

from camlens.core.lazy import lazily

__all__ = ["colorize", "overlay"]

if TYPE_CHECKING:
    from camlens.render.colormaps import colorize
    from camlens.render.overlays import overlay

__getattr__, __dir__ = lazily(__name__, {"colorize": "camlens.render.colormaps", "overlay": "camlens.render.overlays"})
