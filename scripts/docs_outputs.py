"""Update the output blocks of the documentation, which are marked with `<!-- output -->`.

python scripts/docs_outputs.py [docs/audit.md ...]

Each page runs in a clean directory with photographs and cached weights.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["CAMLENS_OFFLINE"] = os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from huggingface_hub import constants

from tests.docs.pages import PAGES, blocks
from tests.docs.readers import fiftyone, lay_out_photographs, plant_weights
from tests.docs.test_executed import outputs


def rewrite(page: Path) -> int:
    """Replace the output blocks of a page by the current output; return their number."""
    text, shift = page.read_text(encoding="utf-8"), 0
    blocks_with_output = list(outputs(page))
    for block, printed in blocks_with_output:
        start = block.start + shift
        text = text[:start] + printed + text[start + len(block.text) :]
        shift += len(printed) - len(block.text)
    page.write_text(text, encoding="utf-8")
    return len(blocks_with_output)


def main(pages: list[Path]) -> None:
    sys.modules["fiftyone"] = fiftyone()
    with tempfile.TemporaryDirectory() as cache:
        plant_weights(Path(cache) / "weights")
        torch.hub.get_dir = lambda: str(Path(cache) / "weights")
        constants.HF_HUB_CACHE = str(Path(cache) / "weights")
        for page in pages:
            if any(block.marker is not None for block in blocks(page)):
                with tempfile.TemporaryDirectory() as directory:
                    lay_out_photographs(Path(directory))
                    os.chdir(directory)
                    print(page.name, rewrite(page), "blocks")


if __name__ == "__main__":
    main([Path(name).resolve() for name in sys.argv[1:]] or PAGES)
