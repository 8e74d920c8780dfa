"""Prepare the first page: its data is embedded in the HTML, and its first map is computed in advance."""

from collections.abc import Mapping
from functools import partial

from pydantic import BaseModel, Field, ValidationError

from camlens.studio.bench import Workbench
from camlens.studio.explaining import checked_request, explain_request, explanation_key
from camlens.studio.images import Filter
from camlens.studio.jobs import Report
from camlens.studio.routes.images import PICTURE, THUMBNAIL, prepare_pictures
from camlens.studio.routes.status import start
from camlens.studio.schemas import ImageId, Start
from camlens.studio.settings import StudioSettings


class _Address(BaseModel):
    """The query parameters that decide what the page shows first."""

    seed: int = Field(default=0, ge=0, le=2**31)
    show: Filter = "all"
    label: int | None = Field(default=None, ge=0)
    image: ImageId | None = None


def opened_bench(settings: StudioSettings) -> Workbench:
    """Create a workbench that loads its model and then explains the first image."""
    bench = Workbench(settings)
    bench.start()
    explain_first_image(bench)
    return bench


def explain_first_image(bench: Workbench) -> None:
    """Submit the explanation of the first image of the start page, to run once the model is loaded."""

    def choose(_report: Report) -> None:
        first = start(bench)
        if first.samples is None or first.question is None:
            return
        question = checked_request(bench, first.question)
        # the key is that of the page's own request, which then shares this job
        bench.jobs.submit(explanation_key(question), partial(explain_request, bench, question))
        # an open page requests these pictures at the same time
        prepare_pictures(bench, [question.image], PICTURE)
        prepare_pictures(bench, [sample.id for sample in first.samples.samples], THUMBNAIL)

    bench.jobs.submit("first image", choose)


def primed_page(text: str, bench: Workbench, query: Mapping[str, str]) -> str:
    """Return the page with the data of its first requests embedded."""
    try:
        address = _Address.model_validate({name: query[name] for name in _Address.model_fields if name in query})
    except ValidationError:
        address = _Address()
    answers = start(bench, **address.model_dump())
    # escape '<', so that no text in the data can close the script element
    data = answers.model_dump_json().replace("<", "\\u003c")
    return text.replace(
        "</head>", f'{_preload(answers)}<script type="application/json" id="start">{data}</script></head>'
    )


def _preload(answers: Start) -> str:
    """Return a link that makes the browser fetch the first picture while it loads the script."""
    if answers.question is None:
        return ""
    address = f"/api/images/{answers.question.image}/picture.png?v={answers.status.session}"
    return f'<link rel="preload" as="fetch" crossorigin href="{address}" />'
