"""The real Microsoft client libraries, with nothing changed but their authority."""

from __future__ import annotations

import msal
import pytest
import requests
from azure.identity import ClientSecretCredential

from tests.conftest import OTHER_TENANT

from .conftest import ROLES, Server

SCOPE = "https://api.securitycenter.microsoft.com/.default"


def call(server: Server, token: str) -> object:
    answer = requests.get(
        f"{server.url}/whoami", headers={"Authorization": f"Bearer {token}"}, verify=server.ca, timeout=20
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def expected(server: Server) -> object:
    return {"tenant": server.tenant, "client": server.client_id, "roles": ROLES}


@pytest.mark.parametrize("tenant", ["id", "name"])
def test_msal_gets_a_token_that_works(server: Server, tenant: str) -> None:
    app = msal.ConfidentialClientApplication(
        server.client_id,
        client_credential=server.secret,
        authority=f"{server.url}/{server.tenant if tenant == 'id' else 'Contoso'}",
        instance_discovery=False,
        verify=server.ca,
    )
    answer = app.acquire_token_for_client([SCOPE])
    assert call(server, answer["access_token"]) == expected(server)
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3599
    assert app.acquire_token_for_client([SCOPE])["token_source"] == "cache"


def test_msal_works_by_another_name_of_the_server(server: Server) -> None:
    app = msal.ConfidentialClientApplication(
        server.client_id,
        client_credential=server.secret,
        authority=server.url.replace("127.0.0.1", "localhost") + f"/{server.tenant}",
        instance_discovery=False,
        verify=server.ca,
    )
    assert call(server, app.acquire_token_for_client([SCOPE])["access_token"]) == expected(server)


def test_msal_reads_the_errors(server: Server) -> None:
    app = msal.ConfidentialClientApplication(
        server.client_id,
        client_credential="wrong",
        authority=f"{server.url}/{server.tenant}",
        instance_discovery=False,
        verify=server.ca,
    )
    answer = app.acquire_token_for_client([SCOPE])
    assert answer["error"] == "invalid_client"
    assert answer["error_codes"] == [7000215]


def test_msal_is_told_of_an_unknown_tenant(server: Server) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.example"):
        msal.ConfidentialClientApplication(
            server.client_id,
            client_credential=server.secret,
            authority=f"{server.url}/nowhere.example",
            instance_discovery=False,
            verify=server.ca,
        ).acquire_token_for_client([SCOPE])


def credential(server: Server, tenant: str, secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        tenant,
        server.client_id,
        secret,
        authority=server.url,
        disable_instance_discovery=True,
        connection_verify=server.ca,
    )


def test_azure_identity_gets_a_token_that_works(server: Server) -> None:
    with credential(server, server.tenant, server.secret) as client:
        assert call(server, client.get_token(SCOPE).token) == expected(server)


def test_azure_identity_trusts_the_ca_by_the_usual_variable(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", server.ca)
    with ClientSecretCredential(
        server.tenant,
        server.client_id,
        server.secret,
        authority=server.url,
        disable_instance_discovery=True,
    ) as client:
        assert call(server, client.get_token(SCOPE).token) == expected(server)


@pytest.mark.parametrize(
    ("tenant", "secret", "code"),
    [(None, "wrong", "AADSTS7000215"), (OTHER_TENANT, None, "AADSTS700016")],
    ids=["secret", "tenant"],
)
def test_azure_identity_shows_the_errors(
    server: Server, tenant: str | None, secret: str | None, code: str
) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    with (
        credential(server, tenant or server.tenant, secret or server.secret) as client,
        pytest.raises(ClientAuthenticationError, match=code),
    ):
        client.get_token(SCOPE)
