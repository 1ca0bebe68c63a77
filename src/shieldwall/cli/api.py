"""`shieldwall api`: any call of the API from the command line."""

from __future__ import annotations

import json
import os
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from shieldwall.cli import quickstart
from shieldwall.client import Call, Client, ClientError, Credentials, Listing
from shieldwall.settings import Settings


def api(
    method: Annotated[str, typer.Argument(help="GET, POST, PATCH or DELETE.", show_default=False)],
    path: Annotated[str, typer.Argument(help="Path, such as /api/machines.", show_default=False)],
    filter: Annotated[str, typer.Option(help="OData $filter.")] = "",
    orderby: Annotated[str, typer.Option(help="OData $orderby.")] = "",
    top: Annotated[int | None, typer.Option(help="OData $top.", show_default=False)] = None,
    skip: Annotated[int | None, typer.Option(help="OData $skip.", show_default=False)] = None,
    select: Annotated[str, typer.Option(help="OData $select.")] = "",
    expand: Annotated[str, typer.Option(help="OData $expand.")] = "",
    count: Annotated[bool, typer.Option("--count", help="OData $count=true.")] = False,
    data: Annotated[str, typer.Option(help="Body: JSON, or @FILE, or @- for standard input.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All pages; one item a line.")] = False,
) -> None:
    """Call the API and print the answer, as the quickstart application of the server on this machine.

    For another server set SHIELDWALL_API_URL, SHIELDWALL_API_TENANT, SHIELDWALL_API_CLIENT_ID,
    SHIELDWALL_API_CLIENT_SECRET and, for a CA of its own, SHIELDWALL_API_CA.

    Example: shieldwall api GET /api/machines --filter "healthStatus eq 'Active'" --top 5 --select id,version
    """
    options = {
        "$filter": filter,
        "$orderby": orderby,
        "$top": "" if top is None else str(top),
        "$skip": "" if skip is None else str(skip),
        "$select": select,
        "$expand": expand,
        "$count": "true" if count else "",
    }
    query = {name: value for name, value in options.items() if value}
    body = _body(data) if data else None
    try:
        with connected() as client:
            if every:
                for item in client.each(Listing[Any](method.upper(), _path(path), query, body)):
                    typer.echo(json.dumps(item, ensure_ascii=False))
                return
            answer = client.send(Call[Any](method.upper(), _path(path), query, body))
    except ClientError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if answer is not None:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def _path(text: str) -> str:
    if "://" in text:
        raise typer.BadParameter("give the path alone, such as /api/machines")
    return "/" + text.lstrip("/")


def _body(text: str) -> Any:
    if text == "@-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except OSError as error:
            raise typer.BadParameter(str(error)) from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--data is no JSON: {error}") from None


def connected() -> Client:
    """A client of the server that the environment names, by default the one on this machine."""
    named = {
        name: os.environ.get(f"SHIELDWALL_API_{name}", "")
        for name in ("URL", "TENANT", "CLIENT_ID", "CLIENT_SECRET", "CA")
    }
    if named["URL"]:
        if missing := [name for name in ("TENANT", "CLIENT_ID", "CLIENT_SECRET") if not named[name]]:
            raise typer.BadParameter(f"SHIELDWALL_API_{missing[0]} is not set")
        mine = Credentials(named["TENANT"], named["CLIENT_ID"], named["CLIENT_SECRET"])
        return Client(named["URL"], mine, verify=_trust(named["CA"]))
    settings = Settings.load()
    ready = quickstart.load(settings)
    if ready is None:
        raise typer.BadParameter(f"no server has run on {settings.data.absolute()}: start `make run` first")
    mine = Credentials(ready.tenant_id, ready.client_id, ready.client_secret)
    return Client(ready.url, mine, verify=_trust(ready.ca))


def _trust(ca: str) -> ssl.SSLContext | bool:
    if not ca:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise typer.BadParameter(f"{ca}: {error}") from None
