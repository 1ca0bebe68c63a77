"""A client of the server on this machine, for commands, with the quickstart application's secret."""

from __future__ import annotations

import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import typer

from shieldwall.cli import quickstart
from shieldwall.settings import Settings

SCOPE = "https://api.securitycenter.microsoft.com/.default"


class LocalClient:
    """Calls the API of the server on this machine; an error ends the command with the server's own words."""

    def __init__(self, settings: Settings, timeout: float = 60) -> None:
        ready = quickstart.load(settings)
        if ready is None:
            raise typer.BadParameter(
                f"no server has run on {settings.data.absolute()}: start `make run` first"
            )
        self.port = urlsplit(ready.url).port or 443
        self._http = httpx.Client(
            base_url=ready.url, verify=ssl.create_default_context(cafile=ready.ca), timeout=timeout
        )
        try:
            answer = self._http.post(
                f"/{ready.tenant_id}/oauth2/v2.0/token",
                data={
                    "grant_type": "client_credentials",
                    "client_id": ready.client_id,
                    "client_secret": ready.client_secret,
                    "scope": SCOPE,
                },
            )
        except httpx.TransportError as error:
            raise typer.BadParameter(
                f"no server answers on {ready.url} ({error}): start `make run`"
            ) from None
        token = _checked(answer)["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **parameters: str) -> Any:
        return _checked(self._http.get(path, params=parameters))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return _checked(self._http.post(path, json=body))

    def send(self, path: str, body: bytes, headers: dict[str, str], parameters: dict[str, str]) -> Any:
        """Post bytes; waits and sends them again while the server is behind."""
        while True:
            answer = self._http.post(path, content=body, headers=headers, params=parameters)
            if answer.status_code not in (429, 503) or not answer.headers.get("retry-after", "").isdigit():
                return _checked(answer)
            time.sleep(int(answer.headers["retry-after"]))

    def delete(self, path: str) -> None:
        _checked(self._http.delete(path))

    def wait_for_action(self, action: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        """Follow a machine action until it is final or ``seconds`` have passed."""
        deadline = time.monotonic() + seconds
        pause = 0.3
        while action["status"] in ("Pending", "InProgress") and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 1.3, 3)
            action = self.get(f"/api/machineactions/{action['id']}")
        return action


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json() if answer.content else None
    try:
        problem = answer.json()
        error = problem["error"]
        text = (
            problem["error_description"] if isinstance(error, str) else f"{error['code']}: {error['message']}"
        )
    except (ValueError, KeyError, TypeError):
        text = answer.text[:300]
    raise typer.BadParameter(f"the server answered {answer.status_code}: {text}")
