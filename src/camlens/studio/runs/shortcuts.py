"""What was tested as a shortcut, for the API, and the pictures of its examples."""

from functools import partial

from camlens.audit.findings.shortcut_pictures import Which, picture_file, pictures_of
from camlens.audit.findings.shortcuts import (
    STATUSES,
    Effect,
    Example,
    Shortcut,
    advice,
    described,
    finding,
    p_in_words,
    sentence,
)
from camlens.core.errors import DataError
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import number
from camlens.studio.runs.schemas import (
    EffectView,
    ShortcutExample,
    ShortcutPictureView,
    ShortcutsView,
    ShortcutView,
    TestedView,
)


def shortcuts_view(run: OpenRun) -> ShortcutsView:
    """Return everything that was tested, confirmed ones first; the level is "off" if the tests were not run."""
    result = run.shortcuts
    if result is None:
        return ShortcutsView(level="off", seed=0, alpha=0, passes=0, bound=0, shortcuts=(), tested=())
    return ShortcutsView(
        level=result.level,
        seed=result.seed,
        alpha=result.alpha,
        passes=result.passes,
        bound=result.bound,
        shortcuts=tuple(_view(run, place, shortcut) for place, shortcut in enumerate(result.shortcuts)),
        tested=tuple(TestedView.model_validate(line) for line in result.tested),
    )


def shortcut_picture(run: OpenRun, place: int, example: int, which: Which) -> bytes:
    """Return a picture of an example as PNG; raise DataError if there is none."""
    shortcuts = () if run.shortcuts is None else run.shortcuts.shortcuts
    examples = shortcuts[place].examples if place < len(shortcuts) else ()
    file = examples[example].pictures.get(which) if example < len(examples) else None
    path = None if file is None else picture_file(run.audit.path, file)
    if path is None:
        raise DataError(
            f"example {example} of shortcut {place} has no picture {which!r}",
            code="shortcut.no-picture",
            shortcut=place,
            example=example,
            which=which,
        )
    return path.read_bytes()


def _view(run: OpenRun, place: int, shortcut: Shortcut) -> ShortcutView:
    names = [run.outcomes.name(index) for index in range(run.outcomes.classes)]
    low, high = shortcut.interval
    return ShortcutView(
        place=place,
        classes=shortcut.classes,
        names=tuple(names[index] for index in shortcut.classes),
        kind=shortcut.kind,
        status=shortcut.status,
        result=STATUSES[shortcut.status],
        what=described(shortcut),
        finding=finding(shortcut),
        sentence=sentence(shortcut, names),
        advice=advice(shortcut, names),
        effect=EffectView(value=number(shortcut.effect), low=number(low), high=number(high)),
        drop=_effect(shortcut.drop),
        pull=_effect(shortcut.pull),
        p=number(shortcut.p),
        p_in_words=p_in_words(shortcut.p),
        property=shortcut.property,
        images=shortcut.images,
        sameness=shortcut.sameness,
        examples=tuple(map(partial(_example, run, shortcut, names), shortcut.examples)),
        rows=tuple(row for row in shortcut.rows if row < len(run)),
    )


def _effect(effect: Effect | None) -> EffectView | None:
    if effect is None:
        return None
    return EffectView(value=number(effect.value), low=number(effect.low), high=number(effect.high))


def _example(run: OpenRun, shortcut: Shortcut, names: list[str], example: Example) -> ShortcutExample:
    pictures = pictures_of(shortcut, example, names, run.outcomes.label)
    return ShortcutExample(
        pictures=tuple(
            ShortcutPictureView(
                which=picture.which,
                row=picture.row,
                caption=picture.caption,
                probability=number(picture.probability),
                region=picture.region,
                present=picture.file is not None and picture_file(run.audit.path, picture.file) is not None,
            )
            for picture in pictures
        )
    )
