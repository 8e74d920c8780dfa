"""Access control: hosts, origins, the token, and the security headers."""

import pytest
from fastapi.testclient import TestClient

from camlens.core.errors import InputError
from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings, fresh_token
from tests.studio.conftest import BASE

TOKEN = "a secret/with? odd=signs"


def client_of(settings: StudioSettings) -> TestClient:
    """Return a client of an app that is not started: the guard needs no model."""
    return TestClient(create_app(settings), base_url=BASE, follow_redirects=False)


@pytest.fixture
def locked() -> TestClient:
    return client_of(StudioSettings(token=TOKEN))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8765", "", "a@127.0.0.1"])
def test_an_unknown_host_is_refused(host: str) -> None:
    answer = client_of(StudioSettings()).get("/api/health", headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["kind"] == "host"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST"])
def test_loopback_hosts_are_accepted(host: str) -> None:
    assert client_of(StudioSettings()).get("/api/health", headers={"host": host}).status_code == 200


def test_a_host_can_be_allowed_by_name() -> None:
    settings = StudioSettings(hosts=("lab.example",))
    assert client_of(settings).get("/api/health", headers={"host": "lab.example"}).status_code == 200


def test_a_public_studio_accepts_ip_addresses_but_not_unknown_names() -> None:
    client = client_of(StudioSettings(host="0.0.0.0", token=TOKEN))
    assert client.get("/api/health", headers={"host": "192.168.3.4:8765"}).status_code == 200
    assert client.get("/api/health", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8765"])
def test_another_origin_is_refused(origin: str) -> None:
    answer = client_of(StudioSettings()).post("/api/explanations", json={"image": "s0"}, headers={"origin": origin})
    assert answer.status_code == 403
    assert answer.json()["kind"] == "origin"


def test_a_cross_site_form_without_origin_is_refused() -> None:
    headers = {"sec-fetch-site": "cross-site"}
    assert client_of(StudioSettings()).post("/api/uploads", content=b"x", headers=headers).status_code == 403


def test_the_own_origin_is_accepted(locked: TestClient) -> None:
    assert locked.get("/api/health", headers={"origin": BASE}).status_code == 200


@pytest.mark.parametrize("path", ["/api/status", "/api/openapi.json", "/api/docs", "/assets/x.js", "/", "/about"])
def test_without_the_token_everything_is_refused(locked: TestClient, path: str) -> None:
    answer = locked.get(path)
    assert answer.status_code == 401
    assert TOKEN not in answer.text


def test_health_needs_no_token(locked: TestClient) -> None:
    assert locked.get("/api/health").json() == {"status": "ok"}


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "x", "täuschend"])
def test_a_wrong_token_is_refused(locked: TestClient, given: str) -> None:
    headers = {"authorization": f"Bearer {given}".encode()}
    assert locked.get("/api/openapi.json", headers=headers).status_code == 401
    assert locked.get("/", params={"token": given}).status_code == 401


def test_a_token_in_the_url_becomes_a_strict_http_only_cookie(locked: TestClient) -> None:
    answer = locked.get("/layers", params={"image": "s3", "token": TOKEN})
    assert answer.status_code == 200
    assert 'content="0; url=/layers?image=s3"' in answer.text
    assert TOKEN not in answer.text
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("camlens-8765=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert locked.get("/api/openapi.json").status_code == 200  # the client kept the cookie


def test_forwarding_after_the_token_stays_on_this_host(locked: TestClient) -> None:
    answer = locked.get("//evil.example/x", params={"token": TOKEN})
    assert "location" not in answer.headers
    assert "url=//" not in answer.text


def test_the_forwarded_address_is_escaped(locked: TestClient) -> None:
    evil = '/"><script>alert(1)</script>'
    answer = locked.get(evil, params={"token": TOKEN, "x": '"><script>'})
    assert "<script" not in answer.text


def test_the_token_is_accepted_as_a_bearer(locked: TestClient) -> None:
    assert locked.get("/api/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_public_host_requires_a_token() -> None:
    for host in ("0.0.0.0", "lab.example"):
        with pytest.raises(InputError) as caught:
            StudioSettings(host=host)
        assert caught.value.code == "studio.token-needed"
        assert caught.value.facts == {"host": host}


def test_fresh_tokens_are_long_and_unique() -> None:
    tokens = {fresh_token() for _ in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 24


def test_every_response_has_the_security_headers(locked: TestClient) -> None:
    for path in ("/api/health", "/api/status", "/"):
        headers = locked.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
