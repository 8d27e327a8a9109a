"""Who may talk to the live page, asked of the real application."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra web is not installed")
import anyio
import httpx

from offramp.review.app import make_app
from offramp.review.guard import COOKIE, Access, is_loopback
from offramp.review.promote_request import Places
from offramp.store.engine import Store, open_store
from offramp.study import lookup

Study = tuple[Path, str]
HOST = "127.0.0.1:8600"
TOKEN = "a-token-of-more-than-16"


@pytest.fixture(scope="module")
def store(study: Study) -> Iterator[Store]:
    with open_store(lookup.default_storage(study[0]), write_probe=False) as opened:
        yield opened


def ask(app: Any, method: str, path: str, **more: Any) -> httpx.Response:
    """One request to the application itself."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            headers = {"authorization": f"Bearer {TOKEN}", **more.pop("headers", {})}
            return await client.request(method, path, headers=headers, **more)

    return anyio.run(once)


def app_of(store: Store, study: Study, tmp_path: Path, **access: Any) -> Any:
    return make_app(
        store, Access(**{"token": TOKEN, **access}), Places(results=study[0], promotions=tmp_path / "promotions")
    )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8600",
        "192.168.0.4",
        "",
        "[::1",
        "[::1]evil",
        "127.0.0.1:8600/..",
        "evil@127.0.0.1",
        "127.1",
        "localhost:x",
    ],
)
def test_a_name_that_is_not_this_machine_is_refused(host: str, store: Store, study: Study, tmp_path: Path) -> None:
    reply = ask(app_of(store, study, tmp_path), "GET", "/", headers={"host": host})
    assert reply.status_code == 403 and study[1] not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1:8600", "localhost", "LOCALHOST:1", "[::1]:8600"])
def test_the_names_of_loopback_are_answered(host: str, store: Store, study: Study, tmp_path: Path) -> None:
    assert ask(app_of(store, study, tmp_path), "GET", "/", headers={"host": host}).status_code == 200


def message_of(reply: httpx.Response) -> str:
    """What a page of a message says below its title."""
    return re.search(r'class="message[^>]*>(.*?)</p>', reply.text, re.DOTALL)[1]


def promote(app: Any, study: Study, csrf: str, **headers: str) -> httpx.Response:
    fields = {"csrf": csrf, "candidate": "recommended", "label": "production"}
    return ask(app, "POST", f"/studies/{study[1]}/promote", data=fields, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": f"http://{HOST}"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://[::1"},
        {"origin": f"http://evil@{HOST}"},
    ],
)
def test_another_site_changes_nothing_even_with_the_right_form(
    headers: dict[str, str], store: Store, study: Study, tmp_path: Path
) -> None:
    access = {"csrf": "known"}
    assert promote(app_of(store, study, tmp_path, **access), study, "known", **headers).status_code == 403
    assert not (tmp_path / "promotions").exists()


def test_a_form_without_the_token_of_this_process_changes_nothing(store: Store, study: Study, tmp_path: Path) -> None:
    app = app_of(store, study, tmp_path)
    for csrf in ("", "guess"):
        assert promote(app, study, csrf, origin=f"http://{HOST}").status_code == 403
        undo = ask(app, "POST", "/promotions/landscape/rollback", data={"csrf": csrf, "label": "production"},
                   headers={"origin": f"http://{HOST}"})  # fmt: skip
        assert undo.status_code == 403
    assert not (tmp_path / "promotions").exists()


def test_the_form_of_the_page_promotes_and_a_gate_that_does_not_hold_is_told(
    store: Store, study: Study, tmp_path: Path
) -> None:
    app = app_of(store, study, tmp_path)
    best = lookup.pareto(study[1], results=study[0]).recommended.candidate
    page = ask(app, "GET", f"/studies/{study[1]}/candidates/{best}").text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
    reply = promote(app, study, csrf, origin=f"http://{HOST}", **{"sec-fetch-site": "same-origin"})
    assert reply.status_code in (200, 409), reply.text
    if reply.status_code == 409:
        assert "gate refused" in reply.text and "production" in message_of(reply)
    fields = {"csrf": csrf, "candidate": best, "label": "production", "force": "yes", "why": "tried in a test"}
    forced = ask(app, "POST", f"/studies/{study[1]}/promote", data=fields, headers={"origin": f"http://{HOST}"})
    assert forced.status_code == 200 and "Promoted" in forced.text and "landscape production" in message_of(forced)
    page = ask(app, "GET", "/promotions/landscape").text
    assert "offramp check landscape" in page and "offramp rollback" not in page  # there is no version to go back to
    today = lookup.pareto(study[1], results=study[0]).incumbent.candidate
    again = ask(app, "POST", f"/studies/{study[1]}/promote", data={**fields, "candidate": today},
                headers={"origin": f"http://{HOST}"})  # fmt: skip
    assert again.status_code == 200
    assert "offramp rollback landscape" in ask(app, "GET", "/promotions/landscape").text
    assert list((tmp_path / "promotions").rglob("*.yaml"))


def test_nothing_but_the_forms_to_promote_and_undo_takes_a_request_that_changes_things(
    store: Store, study: Study, tmp_path: Path
) -> None:
    app = app_of(store, study, tmp_path)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(app, method, f"/studies/{study[1]}", headers={"origin": f"http://{HOST}"}).status_code == 405
    assert ask(app, "GET", f"/studies/{study[1]}/promote").status_code == 405
    assert ask(app, "GET", "/promotions/landscape/rollback").status_code == 405


@pytest.mark.parametrize("loopback", [True, False])
def test_a_token_is_needed_and_leaves_the_address(loopback: bool, store: Store, study: Study, tmp_path: Path) -> None:
    app, nobody = app_of(store, study, tmp_path, loopback=loopback), {"authorization": ""}
    path = f"/studies/{study[1]}"
    for wrong in ("/", path, f"{path}?token=wrong", f"{path}?token=", f"{path}/state", "/assets/page.js", "/nowhere"):
        reply = ask(app, "GET", wrong, headers=nobody)
        assert reply.status_code == 401 and study[1] not in reply.text
        assert COOKIE not in reply.headers.get("set-cookie", "")
    admitted = ask(app, "GET", f"{path}?token={TOKEN}&weights=quality=1", headers=nobody)
    assert admitted.status_code == 303 and TOKEN not in admitted.headers["location"]
    assert admitted.headers["location"].startswith(path + "?weights")
    cookie = admitted.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    name, value = re.search(r"(\w+)=([^;]+)", cookie).groups()
    known = {**nobody, "cookie": f"{name}={value}"}
    assert ask(app, "GET", path, headers=known).status_code == 200
    assert ask(app, "GET", f"{path}?token={TOKEN}", headers=known).headers["location"] == path
    assert ask(app, "GET", path, headers={**nobody, "cookie": f"{name}=guess"}).status_code == 401
    assert ask(app, "GET", path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert ask(app, "GET", path, headers={"authorization": "Bearer guess"}).status_code == 401
    assert ask(app, "GET", f"http://{HOST}//evil.example/x?token={TOKEN}").headers["location"].startswith("/evil")


def test_the_form_needs_the_token_too(store: Store, study: Study, tmp_path: Path) -> None:
    app = app_of(store, study, tmp_path, csrf="known")
    assert promote(app, study, "known", origin=f"http://{HOST}", authorization="").status_code == 401
    assert not (tmp_path / "promotions").exists()


@pytest.mark.parametrize("ports", [("8600", "8601"), ("8600", "")])
def test_pages_on_two_ports_of_a_host_have_cookies_of_their_own(
    ports: tuple[str, str], store: Store, study: Study, tmp_path: Path
) -> None:
    app, names = app_of(store, study, tmp_path), set()
    for port in ports:
        headers = {"host": f"127.0.0.1:{port}".rstrip(":"), "authorization": ""}
        names.add(ask(app, "GET", f"/?token={TOKEN}", headers=headers).headers["set-cookie"].partition("=")[0])
    assert len(names) == 2 and all(name.startswith(COOKIE) for name in names)


def test_every_reply_carries_the_protecting_headers(store: Store, study: Study, tmp_path: Path) -> None:
    app = app_of(store, study, tmp_path)
    for path in ("/", f"/studies/{study[1]}", "/studies/none", "/assets/page.css", "/nowhere"):
        headers = ask(app, "GET", path).headers
        assert (
            "unsafe" not in headers["content-security-policy"]
            and "default-src 'none'" in headers["content-security-policy"]
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin" and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(("path", "status"), [("/studies/none", 404), ("/studies/{}?weights=quality=x", 400), ("/studies/{}/candidates/none", 404), ("/studies/none/state", 404), ("/studies/none/report.html", 404), ("/studies/{}/compare?a=none&b=none2", 200), ("/studies/{}/decision?candidate=none", 200)])  # fmt: skip
def test_what_is_not_there_is_a_message_and_no_traceback(
    path: str, status: int, store: Store, study: Study, tmp_path: Path
) -> None:
    reply = ask(app_of(store, study, tmp_path), "GET", path.format(study[1]))
    assert reply.status_code == status and "Traceback" not in reply.text
    if status >= 400 and "json" not in reply.headers["content-type"]:
        assert message_of(reply).strip() and "Macro" not in message_of(reply), "the message itself was not shown"


def test_the_numbers_of_the_page_are_those_of_pareto(store: Store, study: Study, tmp_path: Path) -> None:
    app = app_of(store, study, tmp_path)
    weights = {"quality": 0.2, "cost": 0.8}
    told = lookup.pareto(study[1], results=study[0], weights=weights).to_json()
    told.pop("study_money")
    served = ask(app, "GET", f"/studies/{study[1]}/data.json?weights=quality=.2,cost=.8").json()
    served.pop("study_money")
    assert served == told


@pytest.mark.parametrize(("host", "right"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil", False), ("", False)])  # fmt: skip
def test_loopback_is_told_from_everything_else(host: str, right: bool) -> None:
    assert is_loopback(host) is right


def test_an_unknown_candidate_and_an_unknown_page_are_told_as_text(store: Store, study: Study, tmp_path: Path) -> None:
    app = app_of(store, study, tmp_path)
    reply = ask(app, "GET", f"/studies/{study[1]}/compare", params={"a": "<img src=x>" * 500})
    assert reply.status_code == 200 and "No such candidate" in reply.text and "<img" not in reply.text
    assert len(reply.text) < 20_000
    nowhere = ask(app, "GET", "/<script>x</script>")
    assert nowhere.status_code == 404 and "no such page" in nowhere.text and "<script>x" not in nowhere.text


def test_a_slice_whose_column_has_an_equals_sign_is_found() -> None:
    from offramp.review.app import _filter

    known = [("a=b", "c=d"), ("a", "x"), ("kind", "easy")]
    for one in known:
        assert _filter({"slice": "=".join(one), "show": ""}, known).slice == one
    assert _filter({"slice": "kind=other", "show": "x"}, known).slice == ("kind", "other")
    assert _filter({"slice": "", "show": "win"}, known).slice is None
