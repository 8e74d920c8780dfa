"""Write what the front end is built from: the API's schema, and the colour tables.

python -m camlens.studio.export studio-ui
"""

import json
import sys
from pathlib import Path

from camlens.render.colormaps import exported_tables
from camlens.studio.app import create_app


def schema() -> str:
    """The OpenAPI schema as JSON text."""
    return json.dumps(create_app().openapi(), indent=1, sort_keys=True) + "\n"


def colours() -> str:
    """The colour tables as JSON text."""
    return json.dumps(exported_tables(), indent=1) + "\n"


def write_contract(directory: Path) -> None:
    """Write `openapi.json` and `src/core/colormaps.json` below the front end's directory."""
    (directory / "openapi.json").write_text(schema(), encoding="utf-8")
    (directory / "src" / "core" / "colormaps.json").write_text(colours(), encoding="utf-8")


if __name__ == "__main__":
    write_contract(Path(sys.argv[1]))
