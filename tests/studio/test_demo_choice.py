"""Switching between demo models without a restart."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from camlens.studio.app import PAGE, create_app
from camlens.studio.settings import DEMOS, StudioSettings
from tests.browser import browser_marks, violations, watched_page
from tests.studio.conftest import BASE, ask_until, listening


def is_ready(status: dict[str, Any]) -> bool:
    return bool(status["state"] == "ready")


def test_switching_to_the_watermark_demo() -> None:
    with TestClient(create_app(StudioSettings(model="demo:photos")), base_url=BASE) as client:
        before = ask_until(client, is_ready)
        assert (before["demo"], tuple(before["demos"])) == ("demo:photos", DEMOS)
        assert client.post("/api/demo", json={"model": "demo:watermark"}).status_code == 200
        after = ask_until(client, is_ready)
        assert after["demo"] == after["model"]["spec"] == after["data"]["spec"] == "demo:watermark"
        assert after["session"] != before["session"]
        assert client.get("/api/start").json()["samples"]["samples"]


@pytest.mark.parametrize("own", [{"data": "photos"}, {"model": "resnet18"}, {"read_only": True}, {"audit": "run"}])
def test_a_user_model_cannot_be_replaced(own: dict[str, Any]) -> None:
    assert StudioSettings(**{"model": "demo:photos", **own}).demos == ()


def test_only_demos_can_be_opened(studio: TestClient, photos: Path) -> None:
    answer = studio.post("/api/demo", json={"model": "demo:watermark"})
    assert (answer.status_code, answer.json()["kind"]) == (422, "input")
    status = studio.get("/api/status").json()
    assert (status["demos"], status["data"]["spec"]) == ([], str(photos))


class TestInABrowser:
    pytestmark = browser_marks(PAGE / "index.html")

    def test_the_header_opens_the_other_demo(self, browser: Any) -> None:
        with listening(StudioSettings(model="demo:photos")) as address, watched_page(browser, address) as page:
            page.goto("/layers?image=s3")
            page.get_by_label("Demo").wait_for(timeout=240_000)  # until the larger model is loaded
            page.get_by_label("Demo").select_option("demo:watermark")
            page.wait_for_url(f"{address}/")
            page.locator("figure canvas[data-painted]").first.wait_for()
            assert page.get_by_label("Demo").input_value() == "demo:watermark"
            assert violations(page) == []
