"""Which headers and parameters of a query are credentials, and are stored nowhere."""

from __future__ import annotations

import pytest

from leadcrm.web.http.credentials import is_credential, without_credentials


@pytest.mark.parametrize(
    "name",
    [
        *(
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "api-key",
            "apikey",
            "x-auth-token",
        ),
        *("x-csrf-token", "x-access-token", "x-api-token", "x-auth", "token", "x-amz-security-token", "x-xsrf-token"),
        *(
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "accessToken",
            "access_token",
            "client_secret",
        ),
        *("password", "x-session-id", "data[token]", "X-Shared-Secret", "jwt", "private-token"),
    ],
)
def test_a_credential_is_known_by_its_name(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize(
    "name",
    [
        *("idempotency-key", "keyword", "click_id", "content-type", "user-agent", "x-request-id", "sec-websocket-key"),
        *(
            "x-tokens-used-by",
            "x-hub-signature-256",
            "x-api-key-id",
            "authority",
            "author",
            "passenger",
            "cookiebot",
            "signal",
            "sidebar",
            "x-forwarded-for",
        ),
        *("authorization2x", "x-cookies-accepted", "key", "utm_source", "email", "gclid"),
    ],
)
def test_other_names_are_none(name: str) -> None:
    assert not is_credential(name)


@pytest.mark.parametrize(
    ("target", "stored"),
    [
        ("/api/lead?token=abc&email=a@b.c", "/api/lead?token=[redacted]&email=a@b.c"),
        ("/api/lead?a=b&ACCESS%5FTOKEN=abc=d", "/api/lead?a=b&ACCESS%5FTOKEN=[redacted]"),
        ("/api/lead?api_key=&x", "/api/lead?api_key=&x"),
        ("/api/lead?token", "/api/lead?token"),
        ("/api/lead", "/api/lead"),
        ("/api/lead?a=?token=b", "/api/lead?a=?token=b"),
    ],
)
def test_a_target_keeps_all_but_the_values_of_credentials(target: str, stored: str) -> None:
    assert without_credentials(target) == stored
