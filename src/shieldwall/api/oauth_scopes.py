"""What an application asks to do in a person's name: the scopes of a sign-in, and what of them is usable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shieldwall.api.oauth_protocol import IDENTITY_SCOPES, OAuthError, shown, unknown_resource
from shieldwall.identity.audiences import Audiences

DEFAULT = ".default"
DEFAULT_RESOURCE = "https://graph.microsoft.com"
"""Of scopes that name no resource."""
TEXT_LIMIT = 4000
SCOPES_LIMIT = 60


@dataclass(frozen=True)
class Asked:
    """The scopes of one resource, with identity scopes such as ``openid``; ``resource`` as it was written."""

    resource: str
    audience: str
    scopes: tuple[str, ...]


def read(form: Mapping[str, str], audiences: Audiences, version: int) -> Asked | None:
    """The scopes that a request names, None when it names none; OAuthError for a stranger's resource."""
    text, resource = form.get("scope", ""), form.get("resource", "")
    if len(text) + len(resource) > TEXT_LIMIT or len(text.split()) > SCOPES_LIMIT:
        raise OAuthError(400, "invalid_scope", 70011, "There are too many scopes.")
    names: list[str] = []
    for scope in text.split():
        if scope in IDENTITY_SCOPES or scope == DEFAULT or "/" not in scope:
            names.append(scope)
            continue
        named, _, name = scope.rpartition("/")
        if resource and audiences.normal(named) != audiences.normal(resource):
            raise OAuthError(400, "invalid_scope", 28000, "The scopes are of more than one resource.")
        resource = resource or named
        names.append(name)
    if not names and not resource:
        return None
    if all(name in IDENTITY_SCOPES for name in names) and (resource or version == 1):
        names.append(DEFAULT)
    if version == 1:
        names.extend(("openid", "offline_access"))
    resource = resource or DEFAULT_RESOURCE
    audience = audiences.normal(resource)
    if audience is None:
        raise unknown_resource(resource, version)
    return Asked(resource, audience, tuple(dict.fromkeys(names)))


def usable(scopes: Iterable[str], consented: Iterable[str]) -> list[str]:
    """The delegated permissions of ``scopes`` that a token gets; OAuthError for one without consent."""
    known = {name.lower(): name for name in consented}
    found: set[str] = set()
    for scope in scopes:
        if scope == DEFAULT:
            found |= set(known.values())
        elif scope not in IDENTITY_SCOPES:
            if scope.lower() not in known:
                raise OAuthError(
                    400,
                    "invalid_grant",
                    65001,
                    f"The application has no consent to '{shown(scope)}'. An administrator gives it:"
                    " shieldwall app update --delegated, or shieldwall app consent.",
                )
            found.add(known[scope.lower()])
    return sorted(found)
