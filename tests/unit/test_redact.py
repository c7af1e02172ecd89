"""Credentials leave texts, and nothing else does."""

from __future__ import annotations

from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v2d_spark.udfs.redact import REDACTED, redact

NAMES = [
    "signature", "Signature", "sig", "SIG", "token", "access_token", "auth_token", "key", "Key", "apikey", "api_key", "api-key",
    "Expires", "expires", "policy", "Policy", "Key-Pair-Id", "X-Amz-Signature", "x-amz-credential", "X-Amz-Security-Token",
    "X-Amz-Date", "X-Goog-Signature", "X-Goog-Credential", "AWSAccessKeyId", "GoogleAccessId", "credential", "password",
    "passwd", "pwd", "auth", "Authorization", "secret", "client_secret", "session", "sessionid", "jwt", "hdnts", "oauth_token",
    "q-signature", "X%2DAmz%2DSignature", "X-Amz-Signature%20", "amp;token",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_credentials_value_is_replaced(name: str) -> None:
    assert redact(f"https://h.example/x.mp4?a=1&{name}=hunter2&b=2") == f"https://h.example/x.mp4?a=1&{name}={REDACTED}&b=2"
    assert redact(f"/x.mp4?{name}=hunter2#t=5") == f"/x.mp4?{name}={REDACTED}#t=5"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no URL here: a=b, key=1000001, token=…",
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=43s&list=PL123&index=2&e=5&st=30&code=a",
        "https://h.example/a/b%20c.mp4?id=5&quality=720p&lang=en&url=https%3A%2F%2Fother%2Fx%3Fid%3D5#start=4",
        "https://h.example/?token=",
        "mail@example.org and http://h/@handle",
        "error: https://a/?x=1, https://b/?y=2.",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:pw@h/x", "https://REDACTED@h/x"),
        ("ftp://me@h/x", "ftp://REDACTED@h/x"),
        ("s3://key:se@cret@bucket/x", "s3://REDACTED@bucket/x"),
        ("'https://a/?sig=pw' and \"https://b/?x=1&key=pw\"", "'https://a/?sig=REDACTED' and \"https://b/?x=1&key=REDACTED\""),
        ("https://h/?a=1;token=pw", "https://h/?a=1;token=REDACTED"),
        ("https://h/?token=p;w", "https://h/?token=REDACTED"),
        ("https://h/#access_token=pw", "https://h/#access_token=REDACTED"),
        ("https://h/?to=https%3A%2F%2Fu%3Apw%40x%2F", "https://h/?to=https%3A%2F%2FREDACTED%40x%2F"),
        ("https://h/?to=https%3A%2F%2Fx%2F%3Fsig%3Dpw", "https://h/?to=https%3A%2F%2Fx%2F%3Fsig%3DREDACTED"),
        ("https://h/?to=https://x/?sig=pw", "https://h/?to=https://x/?sig=REDACTED"),
        ("Authorization: Bearer pw", "Authorization: Bearer REDACTED"),
        ("{'authorization': 'Basic cHc='}", "{'authorization': 'Basic REDACTED'}"),
    ],
)  # fmt: skip
def test_wherever_it_stands(text: str, clean: str) -> None:
    assert redact(text) == clean


SECRET = st.text(st.characters(codec="utf-8", exclude_characters='&#"<>`', exclude_categories=("Z", "C")), min_size=1).map(
    lambda text: "S3CRET" + text + "S3CRET"
)
JUNK = st.text(st.characters(exclude_characters="'"))


@settings(max_examples=150, deadline=None)
@given(before=JUNK, name=st.sampled_from(NAMES), secret=SECRET, after=JUNK, nested=st.integers(0, 2))
def test_no_secret_survives(before: str, name: str, secret: str, after: str, nested: int) -> None:
    url = f"https://h.example/x?{name}={secret}"
    for _ in range(nested):
        url = "https://outer.example/?url=" + quote(url, safe="")

    clean = redact(f"{before} {url} {after}")

    for _ in range(nested + 1):
        assert "S3CRET" not in clean
        clean = unquote(clean)


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(), st.text("ab?&=;#:/@%'\" \n")))
def test_it_never_raises_and_is_stable(text: str) -> None:
    once = redact(text)

    assert redact(once) == once


def test_long_text_takes_no_long_time() -> None:
    for piece in ("?a=", "%3Fa%3D", "https://", "?&", "a@", "authorization: "):
        redact(piece * 20_000)
