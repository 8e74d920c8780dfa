"""Export the API schema and the color tables for the front end.

python -m camlens.studio.export studio-ui
"""

import json
import sys
from pathlib import Path

from camlens.render.colormaps import exported_tables
from camlens.studio.app import create_app


def schema() -> str:
    """Return the OpenAPI schema as JSON."""
    return json.dumps(create_app().openapi(), indent=1, sort_keys=True) + "\n"


def color_tables() -> str:
    """Return the color tables as JSON."""
    return json.dumps(exported_tables(), indent=1) + "\n"


def write_contract(directory: Path) -> None:
    """Write `openapi.json` and `src/core/colormaps.json` into the directory of the front end."""
    (directory / "openapi.json").write_text(schema(), encoding="utf-8")
    (directory / "src" / "core" / "colormaps.json").write_text(color_tables(), encoding="utf-8")


if __name__ == "__main__":
    write_contract(Path(sys.argv[1]))
