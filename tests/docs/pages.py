"""The pages of the documentation and their fenced code blocks.

A comment marks the output of the preceding block: `<!-- output -->` is all of it, `<!-- output from: TEXT -->` starts
at the first line that contains TEXT. scripts/docs_outputs.py writes these blocks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(
    r"(?:^<!-- (?P<marker>output(?: from: .*?)?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: language, text, position of the text on the page, and the marker of an output block."""

    language: str
    text: str
    start: int
    line: int
    marker: str | None

    def commands(self) -> Iterator[str]:
        """Yield the command lines of a shell block, without prompts and comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if command and not command.startswith("#"):
                yield command

    def taken_from(self, printed: str) -> str:
        """Return as many lines of `printed` as the block has, starting where its marker says."""
        lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
        _, _, beginning = (self.marker or "").partition("from: ")
        first = next((number for number, line in enumerate(lines) if beginning in line), None)
        if first is None:
            raise AssertionError(f"no printed line contains {beginning!r}:\n{printed}")
        return "\n".join(lines[first : first + self.text.count("\n")]) + "\n"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["text"],
            match.start("text"),
            text.count("\n", 0, match.start("text")) + 1,
            match["marker"],
        )
        for match in _FENCE.finditer(text)
    ]
