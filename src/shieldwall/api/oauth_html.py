"""The pages that people see when they sign in: plain HTML without scripts, which nothing can frame."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; }
main { width: min(26rem, 100% - 2rem); padding: 2rem 0; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
label { display: block; margin-top: 1rem; font-weight: 600; }
input { box-sizing: border-box; width: 100%; padding: .6rem; font: inherit; }
button { margin: 1.5rem .5rem 0 0; padding: .6rem 1.4rem; font: inherit; font-weight: 600; }
[role=alert] { border-left: .3rem solid #c62828; padding: .2rem .8rem; }
ul { padding-left: 1.2rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

Fields = Mapping[str, str]


def page(title: str, body: str, *, status: int = 200, form_targets: Iterable[str] = ()) -> HTMLResponse:
    """A whole page. ``form_targets`` are origins that a form of it, or the redirect that follows, goes to."""
    targets = " ".join(("'self'", *form_targets))
    document = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} - Shieldwall</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" '
        f'content="noindex"><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{body}'
        "</main></body></html>"
    )
    headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
        f"form-action {targets}; base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(document, status, headers)


def sign_in_form(
    csrf: str,
    *,
    about: str,
    accept: str,
    upn: str = "",
    problem: str = "",
    hidden: Fields | None = None,
) -> str:
    """A form for name and password. ``about`` is HTML that says what follows from signing in."""
    invalid = ' aria-invalid="true" aria-describedby="problem"' if problem else ""
    return (
        f'{about}{alert(problem)}<form method="post">{_hidden({"csrf": csrf, **(hidden or {})})}'
        '<label for="username">User name</label>'
        f'<input id="username" name="username" type="email" value="{escape(upn)}" maxlength="200"'
        f' autocomplete="username" required{invalid}>'
        '<label for="password">Password</label>'
        '<input id="password" name="password" type="password" maxlength="256"'
        f' autocomplete="current-password" required{invalid}>'
        f'<button name="decision" value="accept">{escape(accept)}</button>'
        '<button name="decision" value="cancel" formnovalidate>Cancel</button></form>'
    )


def code_form(csrf: str, problem: str = "") -> str:
    """A form for the code that a program shows."""
    return (
        "<p>Enter the code that the program shows. Go on only if you have started that program yourself.</p>"
        f'{alert(problem)}<form method="post">{_hidden({"csrf": csrf})}<label for="user_code">Code</label>'
        '<input id="user_code" name="user_code" maxlength="20" autocomplete="off" autocapitalize="characters"'
        ' spellcheck="false" required><button>Next</button></form>'
    )


def post_form(address: str, fields: Fields) -> str:
    """A form that takes the answer of a sign-in to the application, for ``response_mode=form_post``."""
    return (
        "<p>You are signed in. Go on to the application.</p>"
        f'<form method="post" action="{escape(address)}">{_hidden(fields)}<button>Continue</button></form>'
    )


def alert(problem: str) -> str:
    return f'<p role="alert" id="problem">{escape(problem)}</p>' if problem else ""


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def listing(title: str, items: Iterable[str]) -> str:
    found = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<p>{escape(title)}</p><ul>{found}</ul>" if found else ""


def _hidden(fields: Fields) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields.items()
    )
