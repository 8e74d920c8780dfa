"""The section of the report on shortcuts: a card for each confirmed one, and tables of everything that was tested."""

from collections.abc import Sequence
from contextlib import suppress
from html import escape

from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.findings.overview import percent
from camlens.audit.findings.reading import Run
from camlens.audit.findings.shortcut_pictures import ShortcutPicture, picture_file, pictures_of
from camlens.audit.findings.shortcuts import (
    STATUSES,
    Shortcut,
    Shortcuts,
    advice,
    described,
    finding,
    p_in_words,
)
from camlens.audit.report.evidence import TINY, webp
from camlens.core.errors import CamlensError
from camlens.data.decode import decode_image

_MOST_CARDS, _MOST_EXAMPLES, _MOST_THUMBNAILS, _MOST_ROWS = 20, 3, 8, 200
_SIDE, _THUMBNAIL_SIDE = 224, 96
_CHIPS = {"confirmed": "bad", "unused": "", "object": "", "too-few": "warn"}


def shortcut_section(run: Run, outcomes: Outcomes, shortcuts: Shortcuts) -> str:
    """Return the cards of the confirmed shortcuts and the tables of what was tested, as HTML."""
    flags = shortcuts.confirmed
    if flags:
        lead = (
            "The model relies on the properties below, which are not the object. Each was removed from the images that"
            " have it and added to images of other classes, and the model was run on both."
        )
    else:
        lead = (
            "No shortcut was confirmed. The tables list what was looked for. Anything else was not tested, and small"
            " effects may have been missed."
        )
    cards = "".join(_card(run, outcomes, shortcut) for shortcut in flags[:_MOST_CARDS])
    rest = len(flags) - _MOST_CARDS
    note = f'<p class="note">{rest:,} more are in the table.</p>' if rest > 0 else ""
    return f'<p class="lead">{lead}</p>{cards}{note}{_results(outcomes, shortcuts)}{_looked_for(shortcuts)}'


def _card(run: Run, outcomes: Outcomes, shortcut: Shortcut) -> str:
    names = [outcomes.name(index) for index in range(outcomes.classes)]
    classes = " and ".join(escape(names[index]) for index in shortcut.classes)
    words = finding(shortcut)
    evidence = _examples(run, outcomes, shortcut, names) if shortcut.examples else _images(run, outcomes, shortcut)
    return (
        f'<article class="panel flag"><header><h3>{classes}</h3><span class="chip bad">{escape(described(shortcut))}'
        f'</span></header><div class="measured"><div class="words"><p>{escape(words[0].upper() + words[1:])}.</p>'
        f"{_facts(shortcut)}<h4>What to do next</h4><p>{escape(advice(shortcut, names))}</p></div>{evidence}</div>"
        "</article>"
    )


def _facts(shortcut: Shortcut) -> str:
    """Return effects with their intervals, p-value and number of images."""
    effects = [
        (words, effect.value, effect.low, effect.high)
        for words, effect in (("Accuracy lost without it", shortcut.drop), ("Images turned by it", shortcut.pull))
        if effect is not None
    ]
    words = "Error rate above the class" if shortcut.kind == "slice" else "Effect"
    facts = "".join(
        f"<dt>{words}</dt><dd>{_effect(value, low, high)}</dd>"
        for words, value, low, high in effects or [(words, shortcut.effect, *shortcut.interval)]
    )
    if shortcut.sameness is not None:
        facts += f"<dt>How alike it is</dt><dd>{shortcut.sameness:.2f} of 1</dd>"
    return (
        f'<p class="note">In percentage points, with 95 % intervals:</p><dl>{facts}<dt>Corrected p-value</dt>'
        f"<dd>{escape(p_in_words(shortcut.p))}</dd><dt>Images with it</dt><dd>{shortcut.images:,}</dd></dl>"
    )


def _effect(value: float, low: float, high: float) -> str:
    """Return a difference in percentage points: the number, a bar from 0 to 100, and the interval."""
    if value != value:
        return "–"
    start, mark, end = (min(max(100 * bound, 0), 100) for bound in (low, value, high))
    return (
        f'<span class="share"><span class="number">{100 * value:.0f}</span><span class="interval">'
        f'<i style="left:{start:.1f}%;width:{end - start:.1f}%"></i><b style="left:{mark:.1f}%"></b></span></span>'
        f"<small>{100 * low:.0f} to {100 * high:.0f}</small>"
    )


def _examples(run: Run, outcomes: Outcomes, shortcut: Shortcut, names: Sequence[str]) -> str:
    rows = ""
    for example in shortcut.examples[:_MOST_EXAMPLES]:
        figures = [_figure(run, picture) for picture in pictures_of(shortcut, example, names, outcomes.label)]
        pairs = "".join(f'<div class="pair">{"".join(pair)}</div>' for pair in (figures[:2], figures[2:]) if pair)
        rows += f"<li>{pairs}</li>"
    outlined = any(example.region is not None for example in shortcut.examples)
    note = f"Percentages are the probability of {names[shortcut.classes[0]]}." + (
        f" The {shortcut.property or 'region'} is outlined." if outlined else ""
    )
    return f'<div class="trials"><p class="note">{escape(note)}</p><ol>{rows}</ol></div>'


def _figure(run: Run, picture: ShortcutPicture) -> str:
    path = None if picture.file is None else picture_file(run.path, picture.file)
    caption, share = escape(picture.caption), percent(picture.probability)
    stage = '<div class="stage gone"><p>no picture</p></div>'
    if path is not None:
        with suppress(CamlensError):
            pixels = decode_image(path)
            tiny = " tiny" if max(pixels.shape) <= TINY else ""
            stage = (
                f'<div class="stage{tiny}"><img src="data:image/webp;base64,{webp(pixels, _SIDE)}" alt="{caption}">'
                f"{_outline(picture.region)}</div>"
            )
    return (
        f"<figure>{stage}<figcaption><span>{caption}</span><b>{share}</b>"
        f'<span class="bar"><span style="width:{100 * picture.probability:.1f}%"></span></span></figcaption></figure>'
    )


def _outline(region: tuple[float, float, float, float] | None) -> str:
    if region is None:
        return ""
    left, top, right, bottom = (100 * edge for edge in region)
    return (
        f'<span class="spot" style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;'
        f'height:{bottom - top:.2f}%"></span>'
    )


def _images(run: Run, outcomes: Outcomes, shortcut: Shortcut) -> str:
    """Return some of the images of a shortcut without examples, with their predictions."""
    figures = []
    for row in [row for row in shortcut.rows if row < len(outcomes)][:_MOST_THUMBNAILS]:
        name, right = outcomes.name(int(outcomes.predicted[row])), bool(outcomes.correct[row])
        with suppress(CamlensError, OSError):  # moved or deleted since the run
            figures.append(
                f'<figure><div class="stage"><img src="data:image/webp;base64,'
                f'{webp(run.image(row), _THUMBNAIL_SIDE)}" alt="Image {row}"></div><figcaption>'
                f'<span class="{"hit" if right else "miss"}">{escape(name)}</span></figcaption></figure>'
            )
    note = "Some of the images, with the predicted class." if figures else "The images no longer exist."
    return f'<div class="trials"><p class="note">{note}</p><div class="group">{"".join(figures)}</div></div>'


def _results(outcomes: Outcomes, shortcuts: Shortcuts) -> str:
    """Return a table of everything that was tested on the model, confirmed or not."""
    rows = "".join(
        f'<tr><th scope="row">{escape(" and ".join(outcomes.name(index) for index in shortcut.classes))}</th>'
        f"<td>{escape(described(shortcut))}</td>"
        f'<td><span class="chip {_CHIPS[shortcut.status]}">{STATUSES[shortcut.status]}</span></td>'
        f'<td class="number">{shortcut.images:,}</td><td>{_effect(shortcut.effect, *shortcut.interval)}</td>'
        f'<td class="number">{escape(p_in_words(shortcut.p))}</td></tr>'
        for shortcut in shortcuts.shortcuts[:_MOST_ROWS]
    )
    rest = len(shortcuts.shortcuts) - _MOST_ROWS
    more = f'<p class="note">{rest:,} more are in shortcuts.json.</p>' if rest > 0 else ""
    heads = (("Class", ""), ("What", ""), ("Result", ""), ("Images", "number"), ("Effect", ""), ("p", "number"))
    table = _table("Everything that was tested", _head(heads), rows) if rows else "<p>No candidate was found.</p>"
    note = (
        "The effect is the larger of the accuracy lost without the property and the share of other images turned with"
        " it, beyond a control, in percentage points with 95 % intervals. p-values are corrected for all tests; below"
        f" {shortcuts.alpha:g} counts as evidence."
    )
    return f'<div class="panel"><h3>Everything that was tested</h3><p class="note">{note}</p>{table}{more}</div>'


def _looked_for(shortcuts: Shortcuts) -> str:
    """Return a table of the properties that were looked for."""
    kinds = {"local": "part of the image", "global": "whole image", "slice": "group of images"}
    rows = "".join(
        f'<tr><th scope="row">{escape(line.property)}</th><td>{kinds[line.kind]}</td>'
        f'<td class="number">{line.classes:,}</td><td class="number">{line.too_few:,}</td>'
        f'<td class="number">{line.candidates:,}</td><td>{escape(line.note)}</td></tr>'
        for line in shortcuts.tested
    )
    note = (
        f"Level {shortcuts.level}, seed {shortcuts.seed}: {shortcuts.passes:,} forward passes of images, of at most"
        f" {shortcuts.bound:,}."
    )
    heads = (
        *(("Property", ""), ("Where", ""), ("Classes", "number"), ("Too few images", "number")),
        *(("Candidates", "number"), ("Limits", "")),
    )
    table = _table("What was looked for", _head(heads), rows)
    return f'<div class="panel"><h3>What was looked for</h3><p class="note">{note}</p>{table}</div>'


def _head(columns: Sequence[tuple[str, str]]) -> str:
    return "".join(f'<th scope="col"{f" class={style}" if style else ""}>{words}</th>' for words, style in columns)


def _table(name: str, head: str, rows: str) -> str:
    """Return a table that scrolls on narrow screens, also by keyboard."""
    return (
        f'<div class="scroll tall" tabindex="0" role="region" aria-label="{name}"><table class="plain roomy"><thead>'
        f"<tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
