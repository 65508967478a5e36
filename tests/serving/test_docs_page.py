"""The documentation page in a real browser: it shows the routes, and asks nobody but this server."""

from __future__ import annotations

from urllib.parse import urlsplit

from api import Api, browser


def test_the_page_shows_the_routes_and_loads_nothing_from_elsewhere(bare: Api) -> None:
    asked: list[str] = []
    faults: list[str] = []
    with browser() as opened:
        page = opened.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(f"{bare.base}/docs", wait_until="networkidle")
        route = page.locator(".opblock-summary-path", has_text="recommendations").first
        route.wait_for()
        assert "/v1/users/{user}/recommendations" in route.inner_text().replace("\u200b", "")
        route.click()
        page.get_by_text("The best items for a user, best first").first.wait_for()
        paths = [text.replace("\u200b", "") for text in page.locator(".opblock-summary-path").all_inner_texts()]
        page.close()
    assert "/v1/events" in paths
    assert len(paths) >= 20
    assert faults == []
    own = urlsplit(bare.base).netloc
    loaded = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert {urlsplit(url).netloc for url in loaded} == {own}
    assert any(url.endswith("/openapi.json") for url in loaded)
