"""An HTML index of many panels, without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote

from camlens.core.errors import InputError

_VERDICTS = {True: "correct", False: "incorrect", None: "unlabeled"}


@dataclass(frozen=True)
class PageEntry:
    """One panel of the index.

    Attributes:
        picture: the path of the picture, relative to the page.
        title: the heading of the panel.
        predicted: the predicted class.
        confidence: its probability.
        true_class: the true class, or None if it is unknown.
        size: (width, height) of the picture in pixels, which keeps the layout stable while the page loads.
        alt: the text alternative of the picture (default: the prediction).
        section: a heading above the panel, or "".
    """

    picture: str
    title: str
    predicted: str
    confidence: float | int
    true_class: str | None = None
    size: tuple[int, int] | None = None
    alt: str = ""
    section: str = ""

    @property
    def verdict(self) -> str:
        """`correct`, `incorrect`, or `unlabeled`."""
        return _VERDICTS[None if self.true_class is None else self.predicted == self.true_class]


def index_page(entries: Sequence[PageEntry], *, title: str, subtitle: str = "") -> str:
    """Return a page with the panels in a grid, filters for correct and incorrect ones, and a light and dark theme.

    Raises InputError if the path of a picture is not relative.
    """
    counts = {verdict: sum(entry.verdict == verdict for entry in entries) for verdict in _VERDICTS.values()}
    judged = counts["correct"] + counts["incorrect"]
    facts = [subtitle, f"{len(entries)} images"]
    if judged:
        facts.append(f"{counts['correct']} of {judged} correct ({100 * counts['correct'] / judged:.0f} %)")
    return _PAGE.format(
        title=escape(title),
        style=_STYLE,
        facts=escape("  ·  ".join(fact for fact in facts if fact)),
        filters=_filters(counts) if sum(count > 0 for count in counts.values()) > 1 else "",
        cards="\n".join(map(_card, entries)) or '<p class="empty">No panels.</p>',
    )


def _filters(counts: dict[str, int]) -> str:
    """Return radio buttons that hide panels through CSS."""
    choices = {"all": sum(counts.values()), **{verdict: count for verdict, count in counts.items() if count}}
    parts = [
        f'<input type="radio" name="shown" id="show-{name}"{" checked" if name == "all" else ""}>'
        f'<label for="show-{name}">{name} <b>{count}</b></label>'
        for name, count in choices.items()
    ]
    return f"<fieldset><legend>Show</legend>{''.join(parts)}</fieldset>"


def _card(entry: PageEntry) -> str:
    """Return the HTML of one panel."""
    link = _relative_link(entry.picture)
    percent = f"{100 * entry.confidence:.1f} %"
    prediction = f"{entry.predicted}, {percent}"
    truth = f"true class: {entry.true_class}" if entry.verdict == "incorrect" else ""
    alt = entry.alt or ", ".join(part for part in (f"Panel of {entry.title}: predicted {prediction}", truth) if part)
    size = f' width="{entry.size[0]}" height="{entry.size[1]}"' if entry.size else ""
    badge = f'<span class="badge">{entry.verdict}</span>' if entry.true_class is not None else ""
    below = f"<p>{escape(truth)}</p>" if truth else ""
    heading = f'<h2 class="section">{escape(entry.section)}</h2>\n' if entry.section else ""
    return (
        f'{heading}<article class="{entry.verdict}">'
        f'<a href="{link}"><img src="{link}" alt="{escape(alt)}"{size} loading="lazy"></a>'
        f"<div><h2>{escape(entry.title)}</h2>{badge}</div>"
        f"<p><strong>{escape(entry.predicted)}</strong> {percent}</p>{below}</article>"
    )


def _relative_link(path: str) -> str:
    """Return the path as a link that cannot point to another site or a script."""
    if not path or PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or path.startswith("\\"):
        raise InputError(
            f"the path of a picture must be relative to the page, not {path!r}",
            code="path.not-relative",
            path=str(path),
        )
    return escape(quote(path.replace("\\", "/")))


_STYLE = """
:root { color-scheme: light dark; --back: #f4f4f2; --card: #fff; --ink: #1b1c1f; --muted: #595c63;
  --line: #dcdbd6; --accent: #a63f08; --good: #176b42; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #121315; --card: #1a1b1e; --ink: #ecebe8;
  --muted: #a4a7ae; --line: #303237; --accent: #ffa270; --good: #78d6a6; --bad: #ff9a90; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
header, main { max-width: 1720px; margin: 0 auto; padding: 0 clamp(16px, 3vw, 48px); }
header { padding-top: 40px; }
h1 { margin: 0; font-size: 28px; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--muted); }
fieldset { border: 0; margin: 22px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 8px; }
legend, fieldset input { position: absolute; opacity: 0; pointer-events: none; }
label { padding: 5px 14px; border: 1px solid var(--line); border-radius: 99px; background: var(--card);
  cursor: pointer; }
label b { color: var(--muted); font-weight: 500; margin-left: 3px; }
input:checked + label { border-color: var(--accent); color: var(--accent);
  box-shadow: inset 0 0 0 1px var(--accent); }
input:focus-visible + label, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
main { padding-top: 24px; padding-bottom: 64px; display: grid; gap: 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr)); }
article { background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  padding-bottom: 14px; }
article img { display: block; width: 100%; height: auto; border-bottom: 1px solid var(--line); }
article div { display: flex; align-items: start; justify-content: space-between; gap: 12px;
  padding: 14px 18px 0; }
h2 { margin: 0; font-size: 16px; overflow-wrap: anywhere; }
.section { grid-column: 1 / -1; margin: 16px 0 -8px; font-size: 20px; }
article p { margin: 2px 18px 0; color: var(--muted); overflow-wrap: anywhere; }
article strong { color: var(--ink); font-weight: 600; }
.badge { flex: none; font-size: 13px; font-weight: 600; padding: 1px 10px; border-radius: 99px;
  border: 1px solid currentColor; }
.correct .badge { color: var(--good); }
.incorrect .badge, .incorrect div ~ p + p { color: var(--bad); }
.empty { color: var(--muted); }
body:has(#show-correct:checked) article:not(.correct),
body:has(#show-incorrect:checked) article:not(.incorrect),
body:has(#show-unlabeled:checked) article:not(.unlabeled) { display: none; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{facts}</p>
{filters}
</header>
<main>
{cards}
</main>
</body>
</html>
"""
