"""Where sign-ins may return to: addresses that an application registered, matched exactly."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from shieldwall.errors import bad_request

LENGTH_LIMIT = 2000
COUNT_LIMIT = 50
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def validated_redirects(addresses: Iterable[str], *, public: bool) -> list[str]:
    """The addresses, each once. ApiError 400 for one that is neither HTTPS nor of the machine itself."""
    found = list(dict.fromkeys(address.strip() for address in addresses))
    if len(found) > COUNT_LIMIT:
        raise bad_request(f"An application has at most {COUNT_LIMIT} redirect addresses.")
    for address in found:
        url = _split(address)
        fine = url is not None and url.netloc and not url.fragment and "@" not in url.netloc
        loopback = url is not None and url.scheme == "http" and _host(url) in _LOOPBACK
        if not (fine and url is not None and (url.scheme == "https" or loopback)):
            raise bad_request(
                f"A redirect address is https://... or http://localhost, without fragment: {address[:100]!r}."
            )
        if loopback and url is not None and url.port is not None and public:
            raise bad_request("Leave the port out: a public client may use any on its own machine.")
    return found


def is_registered(address: str, registered: Iterable[str], *, public: bool) -> bool:
    """Whether a sign-in may return to ``address``: one of those registered, to the letter.

    A public client listens on whatever port its machine has free, so on loopback the port does not count.
    """
    known = list(registered)
    if address in known:
        return True
    url = _split(address)
    if not public or url is None or url.scheme != "http" or _host(url) not in _LOOPBACK:
        return False
    if url.port is None or url.username is not None:
        return False
    portless = url._replace(netloc=_host(url)).geturl()
    # A browser asks for "/" where nothing stands, so the two are one address.
    return any(portless.rstrip("/") == each.rstrip("/") for each in known)


def _split(address: str) -> SplitResult | None:
    if len(address) > LENGTH_LIMIT or not address.isascii() or not address.isprintable() or " " in address:
        return None
    try:
        url = urlsplit(address)
        _ = url.port
    except ValueError:
        return None
    return url


def _host(url: SplitResult) -> str:
    """The host as written, without port."""
    host = url.netloc.rpartition("@")[2]
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
