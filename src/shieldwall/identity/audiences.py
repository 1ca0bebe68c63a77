"""The names that this service goes by: the documented resources and its own URLs."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from shieldwall.settings import Settings

API_HOSTS = frozenset(
    {
        "api.securitycenter.microsoft.com",
        "api.securitycenter.windows.com",
        "api-us.securitycenter.microsoft.com",
        "api-eu.securitycenter.microsoft.com",
        "api-uk.securitycenter.microsoft.com",
        "api-us.securitycenter.windows.com",
        "api-eu.securitycenter.windows.com",
        "api-uk.securitycenter.windows.com",
        "api-gcc.securitycenter.microsoft.us",
        "api-gov.securitycenter.microsoft.us",
        "api.security.microsoft.com",
        "api.security.microsoft.us",
        *(f"{region}.api.security.microsoft.com" for region in ("us", "eu", "uk", "au", "swa", "ina", "aea")),
        "graph.microsoft.com",
        "graph.microsoft.us",
    }
)
PATH_RESOURCES = frozenset(
    {"https://securitycenter.onmicrosoft.com/windowsatpservice", "https://security.microsoft.com/mtp"}
)
APPLICATION_ID = "fc780465-2017-40d4-a0c5-307022471b92"
"""The application id of the real service, which some clients name as the resource."""


class Audiences:
    """Which resources tokens may be asked for, and under which URLs this server answers."""

    def __init__(self, settings: Settings) -> None:
        hosts = ("localhost", "127.0.0.1", "[::1]", _in_url(settings.host), socket.gethostname().lower())
        self.bases = tuple(
            dict.fromkeys([settings.url, *(f"https://{host}:{settings.port}" for host in hosts)])
        )
        """The server's own URLs; the first is the one that it was told."""
        self._by_netloc = {urlsplit(base).netloc.lower(): base for base in reversed(self.bases)}
        self.accepted = frozenset(
            {*self.bases, *PATH_RESOURCES, APPLICATION_ID, *(f"https://{host}" for host in API_HOSTS)}
        )

    def base(self, host_header: str | None) -> str:
        """The own URL that was called, for links in answers.

        A ``Host`` that is not one of the server's own names gets the configured URL: what a caller
        claims is never echoed into a document that another might read from a cache.
        """
        return self._by_netloc.get((host_header or "").lower(), self.bases[0])

    def normal(self, resource: str) -> str | None:
        """The audience of a token for ``resource`` (or ``resource/.default``), None for a stranger's."""
        text = resource.strip().removesuffix("/.default").rstrip("/")
        if text.lower() in (APPLICATION_ID, f"api://{APPLICATION_ID}"):
            return APPLICATION_ID
        try:
            url = urlsplit(text)
        except ValueError:
            return None
        host = url.netloc.lower()
        if url.scheme.lower() not in ("https", "http"):
            return None
        if host in self._by_netloc:
            return self._by_netloc[host]
        # Clients that are told the host and the port apart ask for a token for the host alone.
        if found := next((base for base in self.bases if urlsplit(base).hostname == host.strip("[]")), None):
            return found
        if f"https://{host}{url.path.lower()}" in PATH_RESOURCES:
            return f"https://{host}{url.path.lower()}"
        return f"https://{host}" if host in API_HOSTS else None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
