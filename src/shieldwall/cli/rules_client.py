"""Calls about rules, on the server that the environment names or the one on this machine."""

from __future__ import annotations

from typing import Any

import typer

from shieldwall.cli.api import connected
from shieldwall.client import Call, ClientError

PATH = "/api/detectionRules"


class RulesClient:
    """An error ends the command with the server's own words."""

    def __init__(self) -> None:
        self._client = connected()

    def get(self, path: str, **query: str) -> Any:
        return self._send("GET", path, query={name: text for name, text in query.items() if text})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", path, body=body)

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def _send(self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None) -> Any:
        try:
            return self._client.send(Call[Any](method, path, query or {}, body))
        except ClientError as error:
            raise typer.BadParameter(str(error)) from None
