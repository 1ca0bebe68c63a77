"""A person at a browser, who opens pages and fills in forms."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx


class Form(HTMLParser):
    """The one form of a page, with what is filled in already."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.labelled: set[str] = set()
        self.inputs: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "form":
            self.action = found.get("action") or ""
        elif tag == "label":
            self.labelled.add(found.get("for") or "")
        elif tag == "input":
            self.fields[found["name"] or ""] = found.get("value") or ""
            if found.get("type") != "hidden":
                self.inputs.add(found.get("id") or "")
        assert tag != "script"
        assert not any(name.startswith("on") or name == "style" for name in found)


class Browser:
    """Keeps cookies; never follows a redirect that leaves the server."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def open(self, address: str) -> httpx.Response:
        return self.http.get(address)

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        form = Form(page.text)
        assert form.inputs <= form.labelled, "every field has a label"
        return self.http.post(urljoin(str(page.url), form.action), data=form.fields | fields)

    def sign_in(self, address: str, upn: str, password: str, decision: str = "accept") -> httpx.Response:
        page = self.open(address)
        assert page.status_code == 200, page.text
        return self.submit(page, username=upn, password=password, decision=decision)


def returned(answer: httpx.Response) -> dict[str, str]:
    """What came back to the application in the query or fragment of its address."""
    assert answer.status_code == 303, answer.text
    url = urlsplit(answer.headers["location"])
    return dict(parse_qsl(url.query or url.fragment))
