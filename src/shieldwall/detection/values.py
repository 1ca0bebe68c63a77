"""Values of indicators, checked and in the one form in which they are compared."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from shieldwall.errors import ApiError, bad_request

FILE_TYPES = ("FileSha1", "FileSha256", "FileMd5")
NETWORK_TYPES = ("IpAddress", "DomainName", "Url")
TYPES = (*FILE_TYPES, *NETWORK_TYPES, "CertificateThumbprint")

VALUE_LIMIT = 2048

_HASH_LENGTHS = {"FileSha1": 40, "FileSha256": 64, "FileMd5": 32, "CertificateThumbprint": 40}
_HEX = re.compile(r"[0-9a-fA-F]+")
_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)


def match_value(kind: str, value: str) -> str:
    """The comparable form of ``value``; ApiError 400 with the documented code when it is not of its type."""
    text = value.strip()
    if not text or len(text) > VALUE_LIMIT:
        raise bad_request(f"indicatorValue must have 1 to {VALUE_LIMIT} characters.", "InvalidInput")
    if kind in _HASH_LENGTHS:
        return _hash(kind, text)
    if kind == "IpAddress":
        return _address(text)
    if kind == "DomainName":
        return _domain(text)
    if kind == "Url":
        return _url(text)
    raise bad_request(f"indicatorType must be one of {', '.join(TYPES)}.", "InvalidInput")


def _hash(kind: str, text: str) -> str:
    if kind == "CertificateThumbprint":
        text = text.replace(":", "").replace(" ", "")
    if not _HEX.fullmatch(text) or len(text) != _HASH_LENGTHS[kind]:
        raise ApiError(400, "InvalidHashValue", f"Hash value {text[:80]} is invalid.")
    return text.lower()


def _address(text: str) -> str:
    try:
        parsed = ip_address(text.strip("[]"))
    except ValueError:
        raise ApiError(400, "InvalidIpAddress", f"IP address {text[:80]} is invalid.") from None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id:
            raise ApiError(400, "InvalidIpAddress", f"IP address {text[:80]} is invalid.")
        return str(parsed.ipv4_mapped or parsed)
    return str(parsed)


def _domain(text: str) -> str:
    name = text.rstrip(".").lower()
    try:
        name = name.encode("ascii").decode() if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        name = ""
    if not _DOMAIN.fullmatch(name):
        raise ApiError(400, "InvalidDomainName", f"Domain name {text[:80]} is invalid.")
    return name


def _url(text: str) -> str:
    """Host and path without the scheme: http and https of one address are one indicator."""
    invalid = ApiError(400, "InvalidUrl", f"URL {text[:80]} is invalid.")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid from None
    if not host or parts.scheme not in ("http", "https") or any(mark in text for mark in " \t\r\n\"'<>\\"):
        raise invalid
    try:
        host = _address(host)
    except ApiError:
        try:
            host = _domain(host)
        except ApiError:
            raise invalid from None
    standard = {"http": 80, "https": 443}[parts.scheme]
    where = f"{host}:{port}" if port and port != standard else host
    path = parts.path.rstrip("/")
    return f"{where}{path}?{parts.query}" if parts.query else f"{where}{path}"


def url_prefixes(url: str) -> list[str]:
    """What indicators may cover this address: itself, each folder above it, its host and parent domains."""
    try:
        whole = _url(url)
    except ApiError:
        return []
    bare = whole.split("?", 1)[0]
    host, _, path = bare.partition("/")
    parts = path.split("/") if path else []
    found = [whole, bare]
    found += ["/".join((host, *parts[:end])) for end in range(len(parts) - 1, 0, -1)]
    found += [host, *parent_domains(host.partition(":")[0])]
    return list(dict.fromkeys(found))


def parent_domains(name: str) -> list[str]:
    """A domain and every domain that it lies in, longest first."""
    labels = name.lower().rstrip(".").split(".")
    return [".".join(labels[start:]) for start in range(len(labels) - 1)] or [name.lower()]
