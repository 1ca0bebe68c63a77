"""A page at ``/docs`` that reads the OpenAPI document aloud, without scripts and without the internet."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

router = APIRouter(include_in_schema=False)

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#eee;padding:.1rem .3rem;border-radius:3px}"
    "details{border-top:1px solid #ccc;padding:.4rem 0}"
    "summary{cursor:pointer}b{display:inline-block;min-width:4.5rem}"
)


@router.get("/docs")
async def page(request: Request) -> Response:
    """Every operation with what it takes, what it needs and what it does."""
    document = request.app.openapi()
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation.get("tags", ["Other"])[0], []).append(
                _operation(method.upper(), path, operation)
            )
    parts = [f"<h2>{escape(name)}</h2>{''.join(items)}" for name, items in groups.items()]
    info = document["info"]
    text = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])} API</title>"
        f"<style>{_STYLE}</style><h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])} The same as data: <a href=/openapi.json>openapi.json</a>.</p>"
        + "".join(parts)
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if needed := operation.get("x-permissions"):
        lines.append(f"<p>Needs one of {', '.join(f'<code>{escape(name)}</code>' for name in needed)}.</p>")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if properties := content.get("schema", {}).get("properties"):
        rows = (
            f"<li><code>{escape(name)}</code> {escape(_kind(kind))}</li>" for name, kind in properties.items()
        )
        lines.append(f"<p>Body:</p><ul>{''.join(rows)}</ul>")
    title = f"<b>{method}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}"
    return f"<details><summary>{title}</summary>{''.join(lines)}</details>"


def _kind(schema: dict[str, Any]) -> str:
    if values := schema.get("enum"):
        return "one of " + ", ".join(values)
    return (
        f"list of {_kind(schema['items'])}" if schema.get("type") == "array" else str(schema.get("type", ""))
    )
