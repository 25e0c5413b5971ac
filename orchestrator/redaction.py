"""Logins and secrets are cut out of whatever is printed, logged or recorded as free text."""

import os
import re

MASK = "***"
SHORTEST = 6
"""Characters of a secret: shorter values occur in ordinary text."""
_LOGIN = re.compile(r"(?<=://)[^\s/@\"']+@")
_SECRET = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY", re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` without the logins of its URIs and without the values of secret environment variables.

    Secret are variables whose names say so, such as MLFLOW_TRACKING_PASSWORD or AWS_SECRET_ACCESS_KEY.
    """
    for secret in _secrets():
        text = text.replace(secret, MASK)
    return _LOGIN.sub(f"{MASK}@", text)


def has_login(uri: str) -> bool:
    """Whether a user or a password stands in the address."""
    return _LOGIN.search(uri) is not None


def _secrets() -> list[str]:
    """Longest first: one may be part of another."""
    values = {
        value
        for name, value in os.environ.items()
        if _SECRET.search(name) and len(value) >= SHORTEST and not os.path.exists(value)  # noqa: PTH110 any text
    }
    return sorted(values, key=len, reverse=True)
