"""The pages of the documentation and the blocks of code that are printed on them.

A block of output is marked by a comment in front of it: `<!-- output -->` is what the block before it prints,
`<!-- output from: TEXT -->` begins with the first line that contains TEXT. scripts/docs_outputs.py writes these blocks.
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
    """One fenced block: its language, its text, where the text lies on the page, and what marks it as output."""

    language: str
    text: str
    start: int
    line: int
    marker: str | None

    def commands(self) -> Iterator[str]:
        """The command lines of a shell block, without prompts and comments."""
        for line in self.text.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ").strip()
            if command and not command.startswith("#"):
                yield command

    def taken_from(self, printed: str) -> str:
        """As many lines of what was printed as the block has, from where its marker says."""
        lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
        _, _, beginning = (self.marker or "").partition("from: ")
        first = next((number for number, line in enumerate(lines) if beginning in line), None)
        if first is None:
            raise AssertionError(f"nothing that was printed contains {beginning!r}:\n{printed}")
        return "\n".join(lines[first : first + self.text.count("\n")]) + "\n"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
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
