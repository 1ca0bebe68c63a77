"""People sign in through the real client libraries and the pages, with nothing changed but the authority."""

from __future__ import annotations

import hashlib
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import msal
import pytest
from joserfc import jwt
from sqlalchemy import select

from shieldwall.identity import applications, consents, device_codes, passwords, roles, users
from shieldwall.identity.models import AuditEntry
from shieldwall.identity.people import AuthorizationCode, DeviceCode, RefreshToken, User
from tests.conftest import OTHER_TENANT, TENANT

from .browser import Browser, Form, returned
from .conftest import Server

RESOURCE = "https://api.securitycenter.microsoft.com"
SCOPES = [f"{RESOURCE}/Machine.Read", f"{RESOURCE}/Alert.ReadWrite"]
REDIRECT = "http://localhost:51234"
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class People:
    """A server with a public application, and Ann who may read devices but not change alerts."""

    server: Server
    public: str
    upn: str
    user_id: str

    def app(self) -> msal.PublicClientApplication:
        return msal.PublicClientApplication(
            self.public,
            authority=f"{self.server.url}/{TENANT}",
            instance_discovery=False,
            verify=self.server.ca,
        )

    def browser(self) -> Browser:
        return Browser(self.server.http())

    def whoami(self, token: str) -> httpx.Response:
        with self.server.http() as http:
            return http.get("/whoami", headers={"Authorization": f"Bearer {token}"})

    def query(self, **changes: str) -> str:
        """The address of a good sign-in with PKCE; an empty value leaves a parameter out."""
        parameters = {
            "client_id": self.public,
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": " ".join([*SCOPES, "openid", "offline_access"]),
            "state": "s t/&",
            "code_challenge": challenge(VERIFIER),
            "code_challenge_method": "S256",
        } | changes
        return f"/{TENANT}/oauth2/v2.0/authorize?" + urlencode(
            {name: value for name, value in parameters.items() if value}
        )

    def code(self, **changes: str) -> str:
        return returned(self.browser().sign_in(self.query(**changes), self.upn, PASSWORD))["code"]

    def redeem(self, code: str, **changes: str) -> httpx.Response:
        form = {
            "grant_type": "authorization_code",
            "client_id": self.public,
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        } | changes
        return self.token(form)

    def refresh(self, token: str, **changes: str) -> httpx.Response:
        form = {"grant_type": "refresh_token", "client_id": self.public, "refresh_token": token}
        return self.token(form | changes)

    def token(self, form: dict[str, str]) -> httpx.Response:
        with self.server.http() as http:
            return http.post(
                f"/{TENANT}/oauth2/v2.0/token", data={name: value for name, value in form.items() if value}
            )


VERIFIER = secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def ann(server: Server) -> Iterator[People]:
    # What a hash costs is for another test; here it would only take time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_COST", 1 << 8)
        yield made(server)


def made(server: Server) -> People:
    application, secret = applications.create_application(
        server.database,
        TENANT,
        "console",
        [],
        public=True,
        delegated=["Machine.Read", "Alert.ReadWrite"],
        redirect_uris=["http://localhost", "https://app.example/back?x=1"],
    )
    assert secret == ""
    user = users.create_user(server.database, TENANT, "Ann@contoso.com", PASSWORD, display_name="Ann <b>")
    users.create_user(server.database, OTHER_TENANT, "bob@fabrikam.com", PASSWORD)
    roles.create_role(server.database, TENANT, "readers", ["Machine.Read"], None)
    roles.assign(server.database, TENANT, "readers", "ann@contoso.com")
    return People(server, application.id, "ann@contoso.com", user.id)


@pytest.fixture(autouse=True)
def no_earlier_failures(server: Server) -> None:
    """Each test is as from an address of its own."""
    sign_in = server.tokens.sign_in
    for failures in (sign_in._failures, sign_in._started):
        failures._counts.clear()


def claims_of(ann: People, token: str) -> dict[str, Any]:
    return jwt.decode(token, ann.server.tokens.keys.current, algorithms=["RS256"]).claims


def error_of(answer: httpx.Response) -> tuple[int, str, int]:
    body = answer.json()
    return answer.status_code, body["error"], body["error_codes"][0]


@pytest.mark.parametrize("mode", [None, "form_post"])
def test_msal_signs_a_person_in_by_auth_code_flow(ann: People, mode: str | None) -> None:
    app = ann.app()
    flow = app.initiate_auth_code_flow(SCOPES, redirect_uri=REDIRECT, response_mode=mode)
    answer = ann.browser().sign_in(flow["auth_uri"], "ANN@contoso.com", PASSWORD)
    if mode is None:
        back = returned(answer)
    else:
        form = Form(answer.text)
        assert form.action == REDIRECT
        assert f"form-action 'self' {REDIRECT};" in answer.headers["content-security-policy"]
        back = form.fields
    result = app.acquire_token_by_auth_code_flow(flow, back)
    assert "error" not in result, result
    claims = claims_of(ann, result["access_token"])
    assert claims["scp"] == "Alert.ReadWrite Machine.Read"
    assert (claims["oid"], claims["upn"], claims["tid"]) == (ann.user_id, ann.upn, TENANT)
    assert (claims["appid"], claims["azpacr"], claims["aud"]) == (ann.public, "0", RESOURCE)
    assert "roles" not in claims
    known = result["id_token_claims"]
    assert (known["aud"], known["preferred_username"], known["name"]) == (ann.public, ann.upn, "Ann <b>")
    assert ann.whoami(result["access_token"]).json()["rights"] == {"Machine.Read": None}
    assert ann.whoami(result["id_token"]).status_code == 401
    # The account is found again, and its refresh token works.
    account = app.get_accounts(ann.upn)[0]
    assert app.acquire_token_silent(SCOPES, account)["token_source"] == "cache"
    renewed = app.acquire_token_silent(SCOPES, account, force_refresh=True)
    assert renewed["token_source"] == "identity_provider"
    hunting = app.acquire_token_silent(["https://graph.microsoft.com/.default"], account)
    assert claims_of(ann, hunting["access_token"])["aud"] == "https://graph.microsoft.com"


def test_msal_signs_a_person_in_by_device_flow(ann: People) -> None:
    app = ann.app()
    flow = app.initiate_device_flow(SCOPES)
    assert flow["user_code"] in flow["message"]
    browser = ann.browser()
    page = browser.submit(browser.open(flow["verification_uri"]), user_code=flow["user_code"].lower())
    assert "console asks to act for you on another machine" in page.text

    def enter() -> None:
        done = browser.submit(page, username=ann.upn, password=PASSWORD, decision="accept")
        assert "console is signed in" in done.text

    threading.Timer(0.3, enter).start()
    flow["interval"] = 1
    result = app.acquire_token_by_device_flow(flow)
    assert "error" not in result, result
    assert ann.whoami(result["access_token"]).json()["upn"] == ann.upn
    assert "error" in app.acquire_token_by_device_flow(flow), "a device code is good once"


def test_device_codes_tell_the_program_what_the_person_does(ann: People) -> None:
    with ann.server.http() as http:
        form = {"client_id": ann.public, "scope": SCOPES[0]}
        started = http.post(f"/{TENANT}/oauth2/v2.0/devicecode", data=form).json()
    poll = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": ann.public,
        "device_code": started["device_code"],
    }
    assert error_of(ann.token(poll))[:2] == (400, "authorization_pending")
    assert error_of(ann.token(poll))[:2] == (400, "slow_down")
    browser = ann.browser()
    first = browser.open("/common/oauth2/deviceauth")
    wrong = browser.submit(first, user_code="BBBB-BBBB")
    assert wrong.status_code == 400
    page = browser.submit(first, user_code=started["user_code"])
    stranger = browser.submit(page, username="bob@fabrikam.com", password=PASSWORD, decision="accept")
    assert "user name or the password is wrong" in stranger.text
    assert (
        "was not signed in"
        in browser.submit(page, username=ann.upn, password=PASSWORD, decision="cancel").text
    )
    assert error_of(ann.token(poll))[:2] == (400, "authorization_declined")
    assert browser.submit(page, username=ann.upn, password=PASSWORD, decision="accept").status_code == 400


def test_guesses_at_device_codes_are_held_up(ann: People) -> None:
    browser = ann.browser()
    page = browser.open("/common/oauth2/deviceauth")
    seen = [browser.submit(page, user_code="BBBB-BBBB").status_code for _ in range(12)]
    assert seen[:10] == [400] * 10
    assert seen[10:] == [429] * 2


def test_guesses_at_passwords_are_held_up(ann: People) -> None:
    browser = ann.browser()
    page = browser.open(ann.query())
    for _ in range(10):
        answer = browser.submit(page, username=ann.upn, password="wrong", decision="accept")
        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
    last = browser.submit(page, username=ann.upn, password=PASSWORD, decision="accept")
    assert last.status_code == 429
    assert int(last.headers["retry-after"]) > 0
    with ann.server.database.read(TENANT) as session:
        failed = session.scalars(select(AuditEntry).where(AuditEntry.action == "signin.failed")).all()
    assert len(failed) >= 10
    assert (failed[-1].target, failed[-1].source_ip) == (ann.user_id, "127.0.0.1")


def test_pages_have_no_scripts_and_cannot_be_framed(ann: People) -> None:
    for address in (ann.query(), "/common/oauth2/deviceauth", f"/{TENANT}/oauth2/v2.0/authorize"):
        page = ann.browser().open(address)
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script" not in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert '<html lang="en">' in page.text
    cookie = ann.browser().open(ann.query()).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}


def test_a_form_counts_only_in_the_browser_that_opened_it(ann: People) -> None:
    page = ann.browser().open(ann.query())
    for other in (ann.browser(), ann.browser()):
        other.open(ann.query(state="other"))
        answer = other.submit(page, username=ann.upn, password=PASSWORD, decision="accept")
        assert answer.status_code == 403
    bare = ann.server.http().post(ann.query(), data={"username": ann.upn, "password": PASSWORD})
    assert bare.status_code == 403


@pytest.mark.parametrize(
    "redirect",
    [
        "http://localhost:1/other",
        "http://localhost.evil.example:1",
        "http://evil.example",
        "http://localhost@evil.example:1",
        "https://localhost:1",
        "https://app.example/back?x=1&y=2",
        "https://app.example/back",
        "javascript:alert(1)",
        "",
    ],
)
def test_an_address_that_is_not_registered_is_never_returned_to(ann: People, redirect: str) -> None:
    answer = ann.browser().open(ann.query(redirect_uri=redirect))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "AADSTS50011" in answer.text


@pytest.mark.parametrize(
    "redirect", ["http://localhost:1", "http://localhost:65000/", "https://app.example/back?x=1"]
)
def test_registered_addresses_are_returned_to_with_the_state(ann: People, redirect: str) -> None:
    answer = ann.browser().sign_in(ann.query(redirect_uri=redirect), ann.upn, PASSWORD)
    assert answer.headers["location"].startswith(redirect)
    assert returned(answer)["state"] == "s t/&"


ERRORS = {
    "no pkce": ({"code_challenge": "", "code_challenge_method": ""}, "invalid_request"),
    "plain pkce": ({"code_challenge_method": "plain"}, "invalid_request"),
    "pkce of no method": ({"code_challenge_method": ""}, "invalid_request"),
    "implicit": ({"response_type": "token"}, "unsupported_response_type"),
    "no scope": ({"scope": ""}, "invalid_request"),
    "stranger's scope": ({"scope": "https://evil.example/.default"}, "invalid_resource"),
    "nobody there": ({"prompt": "none"}, "login_required"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_go_to_the_application(ann: People, case: str) -> None:
    changes, error = ERRORS[case]
    back = returned(ann.browser().open(ann.query(**changes)))
    assert (back["error"], back["state"]) == (error, "s t/&")
    assert back["error_description"].startswith("AADSTS")


def test_a_person_may_cancel(ann: People) -> None:
    back = returned(ann.browser().sign_in(ann.query(), "", "", "cancel"))
    assert back["error"] == "access_denied"


def test_a_scope_without_consent_is_refused(ann: People) -> None:
    asked = ann.query(scope=f"{RESOURCE}/Machine.Isolate")
    back = returned(ann.browser().sign_in(asked, ann.upn, PASSWORD))
    assert back["error"] == "access_denied"
    assert "AADSTS65001" in back["error_description"]


def test_a_stranger_cannot_sign_in_under_the_tenant(ann: People) -> None:
    answer = ann.browser().sign_in(ann.query(), "bob@fabrikam.com", PASSWORD)
    assert answer.status_code == 400
    common = ann.query().replace(TENANT, "common")
    answer = ann.browser().sign_in(common, "bob@fabrikam.com", PASSWORD)
    assert answer.status_code == 400, "the application is not for other tenants"
    assert "code" in returned(ann.browser().sign_in(common, ann.upn, PASSWORD))


def test_a_code_is_good_once_for_who_asked_for_it(ann: People) -> None:
    code = ann.code()
    wrong = {
        "code_verifier": secrets.token_urlsafe(32),
        "redirect_uri": "http://localhost:1",
    }
    for name, value in wrong.items():
        assert error_of(ann.redeem(code, **{name: value}))[:2] == (400, "invalid_grant")
    assert error_of(ann.redeem(code, code_verifier=""))[:2] == (400, "invalid_grant")
    assert error_of(ann.redeem(code, client_id=ann.server.client_id, client_secret=ann.server.secret)) == (
        400,
        "invalid_grant",
        70008,
    )
    tokens = ann.redeem(code).json()
    assert error_of(ann.redeem(code)) == (400, "invalid_grant", 54005)
    assert error_of(ann.refresh(tokens["refresh_token"])) == (400, "invalid_grant", 700082), "all ends"


def test_refresh_tokens_rotate_and_reuse_ends_them_all(ann: People) -> None:
    first = ann.redeem(ann.code()).json()["refresh_token"]
    second = ann.refresh(first).json()["refresh_token"]
    third = ann.refresh(second).json()["refresh_token"]
    assert len({first, second, third}) == 3
    assert error_of(ann.refresh(first)) == (400, "invalid_grant", 50173)
    assert error_of(ann.refresh(third)) == (400, "invalid_grant", 700082)
    with ann.server.database.read(TENANT) as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "signin.revoke")).all()[-1]
    assert (entry.target, entry.outcome) == (ann.user_id, "failure")


def test_no_refresh_token_unless_asked_for(ann: People) -> None:
    answer = ann.redeem(ann.code(scope=SCOPES[0])).json()
    assert "refresh_token" not in answer
    assert "id_token" not in answer
    assert answer["scope"] == SCOPES[0]
    assert isinstance(answer["expires_in"], int)


def test_a_public_client_presents_no_secret_and_has_no_token_of_its_own(ann: People) -> None:
    form = {"grant_type": "client_credentials", "client_id": ann.public, "client_secret": "x"}
    assert ann.token(form | {"scope": f"{RESOURCE}/.default"}).status_code == 401
    assert error_of(ann.redeem("x", client_secret="x")) == (401, "invalid_client", 700025)


def test_a_confidential_client_proves_itself_with_the_code(ann: People) -> None:
    database = ann.server.database
    application, secret = applications.create_application(
        database, TENANT, "web", [], delegated=["Machine.Read"], redirect_uris=["https://web.example/back"]
    )
    back = "https://web.example/back"
    asked = {"client_id": application.id, "redirect_uri": back, "scope": f"{RESOURCE}/.default"}
    code = ann.code(**asked, code_challenge="", code_challenge_method="")
    form = {"client_id": application.id, "redirect_uri": back, "code_verifier": ""}
    assert error_of(ann.redeem(code, **form))[:2] == (401, "invalid_client")
    assert error_of(ann.redeem(code, **form, client_secret="wrong"))[:2] == (401, "invalid_client")
    token = ann.redeem(code, **form, client_secret=secret).json()["access_token"]
    assert claims_of(ann, token)["azpacr"] == "1"


def test_password_grant_as_the_native_app_sample(ann: People) -> None:
    form = {
        "grant_type": "password",
        "resource": RESOURCE,
        "client_id": ann.public,
        "username": ann.upn,
        "password": PASSWORD,
    }
    with ann.server.http() as http:
        answer = http.post(f"/{TENANT}/oauth2/token", data=form)
        wrong = http.post(f"/{TENANT}/oauth2/token", data=form | {"password": "wrong"})
    assert isinstance(answer.json()["expires_in"], str)
    assert claims_of(ann, answer.json()["access_token"])["ver"] == "1.0"
    assert ann.whoami(answer.json()["access_token"]).status_code == 200
    assert error_of(wrong) == (400, "invalid_grant", 50126)


def pass_time(ann: People) -> None:
    for cache in (ann.server.tokens._standings, ann.server.tokens._people):
        cache.clear()


def test_reset_and_disabling_end_what_was_signed_in(ann: People) -> None:
    database = ann.server.database
    for end in (
        lambda upn: users.reset_password(database, TENANT, upn, PASSWORD + "!"),
        lambda upn: users.set_enabled(database, TENANT, upn, False),
        lambda upn: users.delete_user(database, TENANT, upn),
    ):
        upn = f"carl{secrets.token_hex(3)}@contoso.com"
        users.create_user(database, TENANT, upn, PASSWORD)
        code = returned(ann.browser().sign_in(ann.query(), upn, PASSWORD))["code"]
        tokens = ann.redeem(code).json()
        assert ann.whoami(tokens["access_token"]).status_code == 200
        end(upn)
        pass_time(ann)
        assert ann.whoami(tokens["access_token"]).status_code == 401
        assert ann.refresh(tokens["refresh_token"]).status_code == 400
        assert ann.browser().sign_in(ann.query(), upn, PASSWORD).status_code == 400


def test_nothing_that_opens_anything_is_kept(ann: People) -> None:
    code = ann.code()
    refresh = ann.redeem(code).json()["refresh_token"]
    application = applications.any_application(ann.server.database, ann.public)
    assert application is not None
    device, user_code = device_codes.create(ann.server.database, application, TENANT, (".default",), RESOURCE)
    with ann.server.database.system_read() as session:
        kept = [
            str(value)
            for table in (AuthorizationCode, RefreshToken, DeviceCode, User, AuditEntry)
            for row in session.scalars(select(table))
            for value in vars(row).values()
        ]
    for secret in (code, refresh, device, user_code, PASSWORD):
        assert not any(secret in value for value in kept)


def partner(server: Server) -> tuple[str, str]:
    application, secret = applications.create_application(
        server.database,
        TENANT,
        f"partner {secrets.token_hex(3)}",
        ["Alert.Read.All"],
        multi_tenant=True,
        delegated=["Machine.Read"],
        redirect_uris=["https://partner.example/done"],
    )
    return application.id, secret


def token_for(ann: People, tenant: str, client_id: str, secret: str) -> httpx.Response:
    with ann.server.http() as http:
        return http.post(
            f"/{tenant}/oauth2/v2.0/token",
            data=ann.server.form(client_id=client_id, client_secret=secret),
        )


def test_a_partner_gets_a_token_for_each_tenant_that_consented(ann: People) -> None:
    database = ann.server.database
    client_id, secret = partner(ann.server)
    assert error_of(token_for(ann, OTHER_TENANT, client_id, secret)) == (400, "unauthorized_client", 700016)
    link = f"/common/oauth2/authorize?prompt=consent&client_id={client_id}&response_type=code&sso_reload=true"
    answer = ann.browser().open(link)
    assert answer.status_code == 302
    address = answer.headers["location"]
    page = ann.browser().open(address)
    assert "published by Contoso" in page.text
    assert "Alert.Read.All" in page.text
    assert "Only an administrator" in ann.browser().sign_in(address, "bob@fabrikam.com", PASSWORD).text
    upn = f"root{secrets.token_hex(3)}@fabrikam.com"
    users.create_user(database, OTHER_TENANT, upn, PASSWORD, admin=True)
    back = f"/organizations/v2.0/adminconsent?client_id={client_id}&state=7"
    back += "&redirect_uri=https://partner.example/done"
    declined = ann.browser().sign_in(back, "", "", "cancel")
    assert returned(declined) == {"error": "access_denied", "state": "7"}
    assert returned(ann.browser().sign_in(back, upn, PASSWORD)) == {
        "admin_consent": "True",
        "tenant": OTHER_TENANT,
        "state": "7",
    }
    here, there = (token_for(ann, tenant, client_id, secret).json() for tenant in (TENANT, OTHER_TENANT))
    assert claims_of(ann, there["access_token"])["tid"] == OTHER_TENANT
    caller = ann.whoami(there["access_token"]).json()
    assert (caller["tenant"], caller["roles"]) == (OTHER_TENANT, ["Alert.Read.All"])
    assert ann.whoami(here["access_token"]).json()["tenant"] == TENANT
    # What it asks for later needs consent again; what it asks for no more is gone at once.
    applications.update_application(database, TENANT, client_id, roles=["Alert.Read.All", "Machine.Isolate"])
    pass_time(ann)
    renewed = token_for(ann, OTHER_TENANT, client_id, secret).json()["access_token"]
    assert ann.whoami(renewed).json()["roles"] == ["Alert.Read.All"]
    consents.revoke(database, OTHER_TENANT, client_id)
    pass_time(ann)
    assert ann.whoami(there["access_token"]).status_code == 401
    assert ann.whoami(here["access_token"]).status_code == 200
    assert token_for(ann, OTHER_TENANT, client_id, secret).status_code == 400
    with database.read(OTHER_TENANT) as session:
        actions = session.scalars(select(AuditEntry.action).where(AuditEntry.target == client_id)).all()
    assert actions == ["consent.grant", "consent.revoke"]


def test_people_of_a_consenting_tenant_sign_in_to_the_partner(ann: People) -> None:
    client_id, secret = partner(ann.server)
    back = "https://partner.example/done"
    asked = ann.query(client_id=client_id, redirect_uri=back, scope=f"{RESOURCE}/.default").replace(
        TENANT, "common"
    )
    assert (
        "AADSTS65001"
        in returned(ann.browser().sign_in(asked, "bob@fabrikam.com", PASSWORD))["error_description"]
    )
    consents.grant(ann.server.database, OTHER_TENANT, client_id)
    code = returned(ann.browser().sign_in(asked, "bob@fabrikam.com", PASSWORD))["code"]
    with ann.server.http() as http:
        form = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "client_secret": secret,
            "code": code,
            "redirect_uri": back,
            "code_verifier": VERIFIER,
        }
        token = http.post("/common/oauth2/v2.0/token", data=form).json()["access_token"]
    claims = claims_of(ann, token)
    assert (claims["tid"], claims["scp"]) == (OTHER_TENANT, "Machine.Read")


def test_a_link_never_leads_off_the_server(ann: People) -> None:
    answer = ann.browser().open("/%5Cevil.example/oauth2/authorize?prompt=consent&client_id=x")
    assert answer.status_code == 400
