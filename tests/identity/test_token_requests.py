"""Every shape in which clients ask for a token, and every way in which they go wrong."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from shieldwall.identity import applications
from shieldwall.identity.sign_in import FAILURES_BY_CLIENT
from shieldwall.times import parse
from tests.conftest import OTHER_TENANT, TENANT

from .conftest import ROLES, Server

RESOURCES = [
    "https://api.securitycenter.microsoft.com",
    "https://api.securitycenter.windows.com",
    "https://securitycenter.onmicrosoft.com/windowsatpservice",
    "https://api.security.microsoft.com",
    "https://security.microsoft.com/mtp",
    "https://graph.microsoft.com",
    "https://us.api.security.microsoft.com",
    "https://eu.api.security.microsoft.com",
    "https://uk.api.security.microsoft.com",
    "https://api-gov.securitycenter.microsoft.us",
    "fc780465-2017-40d4-a0c5-307022471b92",
]


def claims_of(server: Server, token: str) -> dict[str, Any]:
    """The claims, with the signature checked by the published keys."""
    with server.http() as http:
        keys = KeySet.import_key_set(http.get(f"/{TENANT}/discovery/v2.0/keys").json())
    return dict(jwt.decode(token, keys, algorithms=["RS256"]).claims)


def whoami(server: Server, token: str) -> httpx.Response:
    with server.http() as http:
        return http.get("/whoami", headers={"Authorization": f"Bearer {token}"})


def raw(server: Server, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[int, Any]:
    """A request with exactly these headers."""
    url = urlsplit(server.url)
    context = ssl.create_default_context(cafile=server.ca)
    connection = http.client.HTTPSConnection(str(url.hostname), url.port, context=context, timeout=20)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_version_2_answers_numbers_and_the_documented_claims(server: Server) -> None:
    with server.http() as http:
        answer = http.post(f"/{TENANT}/oauth2/v2.0/token", data=server.form())
    assert answer.status_code == 200
    assert answer.headers["cache-control"].startswith("no-store")
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["ext_expires_in"]) == ("Bearer", 3599, 3599)
    claims = claims_of(server, body["access_token"])
    assert claims["tid"] == TENANT
    assert claims["appid"] == claims["azp"] == server.client_id
    assert claims["roles"] == ROLES
    assert claims["aud"] == "https://api.securitycenter.microsoft.com"
    assert claims["iss"] == f"{server.url}/{TENANT}/v2.0"
    assert claims["ver"] == "2.0"
    assert claims["idtyp"] == "app"
    assert claims["app_displayname"] == "playbook"
    assert claims["oid"] == claims["sub"]
    assert claims["exp"] - claims["nbf"] == 3600


def test_version_1_answers_texts_and_the_resource(server: Server) -> None:
    form = server.form(scope="", resource="https://api.securitycenter.windows.com")
    with server.http() as http:
        body = http.post(f"/{TENANT}/oauth2/token", data=form).json()
    assert body["expires_in"] == body["ext_expires_in"] == "3599"
    assert int(body["expires_on"]) - int(body["not_before"]) == 3600
    assert body["resource"] == "https://api.securitycenter.windows.com"
    claims = claims_of(server, body["access_token"])
    assert claims["iss"] == f"{server.url}/{TENANT}/"
    assert claims["ver"] == "1.0"
    assert "azp" not in claims
    assert whoami(server, body["access_token"]).json()["tenant"] == TENANT


@pytest.mark.parametrize("path", ["oauth2/token", "oauth2/v2.0/token"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_the_form_is_read_whatever_method_and_content_type(
    server: Server, path: str, method: str, content_type: str
) -> None:
    form = urlencode(server.form(resource="https://api.securitycenter.microsoft.com"))
    headers = {"Content-Type": content_type} if content_type else {}
    status, body = raw(server, method, f"/{TENANT}/{path}", form, headers)
    assert status == 200, body
    assert whoami(server, body["access_token"]).status_code == 200


def test_basic_authentication_and_a_body_without_client(server: Server) -> None:
    answer = requests.post(
        f"{server.url}/{TENANT}/oauth2/v2.0/token",
        data=server.form(client_id="", client_secret=""),
        auth=(server.client_id, server.secret),
        verify=server.ca,
        timeout=20,
    )
    assert answer.status_code == 200


def test_extra_fields_are_ignored(server: Server) -> None:
    form = server.form(client_info="1", **{"x-client-SKU": "msal.js.node", "x-client-VER": "2.1"})
    with server.http() as http:
        assert http.post(f"/{TENANT}/oauth2/v2.0/token", data=form).status_code == 200


@pytest.mark.parametrize("resource", [*RESOURCES, "own", "own/", "http own", "own/api"])
def test_every_documented_resource_and_the_own_url(server: Server, resource: str) -> None:
    resource = resource.replace("http own", server.url.replace("https", "http")).replace("own", server.url)
    with server.http() as http:
        one = http.post(f"/{TENANT}/oauth2/token", data=server.form(scope="", resource=resource))
        two = http.post(f"/{TENANT}/oauth2/v2.0/token", data=server.form(scope=f"{resource}/.default"))
    assert (one.status_code, two.status_code) == (200, 200)
    for answer in (one, two):
        assert whoami(server, answer.json()["access_token"]).status_code == 200


def test_identity_scopes_beside_the_resource(server: Server) -> None:
    form = server.form(scope="offline_access https://api.securitycenter.windows.com/.default")
    with server.http() as http:
        token = http.post(f"/{TENANT}/oauth2/v2.0/token", data=form).json()["access_token"]
    assert claims_of(server, token)["aud"] == "https://api.securitycenter.windows.com"


@pytest.mark.parametrize("tenant", ["Contoso", "contoso", TENANT.upper()])
def test_the_tenant_may_be_named(server: Server, tenant: str) -> None:
    with server.http() as http:
        answer = http.post(f"/{tenant}/oauth2/v2.0/token", data=server.form())
    assert claims_of(server, answer.json()["access_token"])["tid"] == TENANT


ERRORS = {
    "secret": ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
    "application": (
        {"client_id": "99999999-9999-4999-8999-999999999999"},
        400,
        "unauthorized_client",
        700016,
    ),
    "application that is no guid": ({"client_id": "x\x00'--"}, 400, "unauthorized_client", 700016),
    "no grant": ({"grant_type": ""}, 400, "invalid_request", 900144),
    "no client": ({"client_id": ""}, 400, "invalid_request", 900144),
    "no secret": ({"client_secret": ""}, 401, "invalid_client", 7000218),
    "no scope": ({"scope": ""}, 400, "invalid_request", 900144),
    "unknown grant": ({"grant_type": "implicit"}, 400, "unsupported_grant_type", 70003),
    "stranger": ({"scope": "https://evil.example/.default"}, 400, "invalid_resource", 500011),
    "no default": ({"scope": "https://api.security.microsoft.com"}, 400, "invalid_scope", 1002012),
    "two resources": (
        {"scope": "https://api.security.microsoft.com/.default https://graph.microsoft.com/.default"},
        400,
        "invalid_scope",
        70011,
    ),
    "assertion": (
        {
            "client_secret": "",
            "client_assertion": "e30.e30.x",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        },
        401,
        "invalid_client",
        700027,
    ),
    "assertion of no type": ({"client_assertion": "e30.e30.x"}, 400, "invalid_request", 90023),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_carry_the_documented_codes(server: Server, case: str) -> None:
    changes, status, error, number = ERRORS[case]
    correlation = "0c6f2d5e-0000-4000-8000-000000000001"
    with server.http() as http:
        answer = http.post(
            f"/{TENANT}/oauth2/v2.0/token",
            data=server.form(**changes),
            headers={"client-request-id": correlation},
        )
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert body["correlation_id"] == correlation
    assert body["trace_id"] in body["error_description"]
    parse(body["timestamp"])


@pytest.mark.parametrize(
    "tenant", ["nowhere.example", "99999999-9999-4999-8999-999999999999", "%00", "a'--", "%2e%2e"]
)
def test_an_unknown_tenant(server: Server, tenant: str) -> None:
    with server.http() as http:
        answer = http.post(f"/{tenant}/oauth2/v2.0/token", data=server.form())
        document = http.get(f"/{tenant}/v2.0/.well-known/openid-configuration")
    assert answer.json()["error_codes"] == document.json()["error_codes"] == [90002]
    assert answer.status_code == document.status_code == 400


def test_another_tenants_application_is_unknown(server: Server) -> None:
    with server.http() as http:
        answer = http.post(f"/{OTHER_TENANT}/oauth2/v2.0/token", data=server.form())
        nobody = http.post("/common/oauth2/v2.0/token", data=server.form())
    assert answer.json()["error_codes"] == [700016]
    assert nobody.json()["error_codes"] == [50059]


def test_bad_bodies(server: Server) -> None:
    path = f"/{TENANT}/oauth2/v2.0/token"
    with server.http() as http:
        assert http.post(path, content=b"a" * 70_000).status_code == 413
        assert http.post(path, content=b"&".join(b"a%d=1" % n for n in range(100))).status_code == 400
        assert http.post(path, content=b"grant_type=\xff").status_code == 400
        assert http.post(path, json=server.form()).json()["error_codes"] == [900144]
        twice = http.post(path, content=urlencode(server.form()) + "&client_id=other")
        assert twice.json()["error_codes"] == [9000411]
        basic = http.post(path, data=server.form(), headers={"Authorization": "Basic ###"})
        assert (basic.status_code, basic.json()["error_codes"]) == (401, [7000215])
        pair = base64.b64encode(b"someone:else").decode()
        mixed = http.post(path, data=server.form(), headers={"Authorization": f"Basic {pair}"})
        assert mixed.status_code == 400


def test_secrets_in_the_address_do_not_count(server: Server) -> None:
    with server.http() as http:
        answer = http.get(f"/{TENANT}/oauth2/v2.0/token", params=server.form())
    assert answer.json()["error_codes"] == [900144]


def test_guessing_is_slowed_down_but_not_for_the_owner(server: Server) -> None:
    path = f"/{TENANT}/oauth2/v2.0/token"
    victim, secret = applications.create_application(server.database, TENANT, "victim", ROLES)
    form = {**server.form(), "client_id": victim.id, "client_secret": secret}
    with server.http() as http:
        assert http.post(path, data=form).status_code == 200
        wrong = [
            http.post(path, data={**form, "client_secret": f"guess{n}"}).status_code
            for n in range(FAILURES_BY_CLIENT)
        ]
        refused = http.post(path, data={**form, "client_secret": "another"})
        owner = http.post(path, data=form)
        neighbour = http.post(path, data=server.form())
    assert set(wrong) == {401}
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"] == "temporarily_unavailable"
    assert (owner.status_code, neighbour.status_code) == (200, 200)


def test_the_discovery_documents_agree_with_the_tokens(server: Server) -> None:
    with server.http() as http:
        for version, middle in (("v2.0/", "v2.0/"), ("", "")):
            document = http.get(f"/Contoso/{version}.well-known/openid-configuration").json()
            assert document["token_endpoint"] == f"{server.url}/{TENANT}/oauth2/{middle}token"
            assert document["authorization_endpoint"].startswith(f"{server.url}/{TENANT}/oauth2/")
            assert http.get(document["jwks_uri"]).json()["keys"][0]["alg"] == "RS256"
            token = http.post(document["token_endpoint"], data=server.form(resource=RESOURCES[0])).json()[
                "access_token"
            ]
            assert claims_of(server, token)["iss"] == document["issuer"]
        common = http.get("/common/v2.0/.well-known/openid-configuration").json()
        assert common["issuer"] == f"{server.url}/{{tenantid}}/v2.0"
        page = http.get(document["authorization_endpoint"])
        assert page.status_code == 400
        assert "AADSTS700016" in page.text
        keys = http.get("/common/discovery/keys").json()["keys"]
    assert all(set(key) == {"kty", "kid", "use", "alg", "n", "e"} for key in keys)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8443", "localhost:1", "127.0.0.1"])
def test_a_foreign_host_header_changes_nothing(server: Server, host: str) -> None:
    with server.http() as http:
        answer = http.get(f"/{TENANT}/v2.0/.well-known/openid-configuration", headers={"Host": host})
    assert answer.json()["token_endpoint"].startswith(f"{server.url}/")
    assert host not in answer.text.replace(server.url, "").replace(server.url.removeprefix("https://"), "")


def test_instance_discovery_knows_only_this_server(server: Server) -> None:
    with server.http() as http:

        def ask(authority: str) -> httpx.Response:
            return http.get(
                "/common/discovery/instance",
                params={"api-version": "1.1", "authorization_endpoint": authority},
            )

        known = ask(f"{server.url}/{TENANT}/oauth2/v2.0/authorize").json()
        assert http.get(known["tenant_discovery_endpoint"]).status_code == 200
        assert known["metadata"][0]["aliases"] == [urlsplit(server.url).netloc]
        for stranger in (
            "https://evil.example/x/oauth2/authorize",
            "",
            "https://[",
            "https://graph.microsoft.com/x",
        ):
            assert ask(stranger).json()["error"] == "invalid_instance"
