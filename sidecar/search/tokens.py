"""Signed shopper ids, for apps whose browsers talk to the sidecar: ``id.expires.signature``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac


class TokenError(ValueError):
    """A token that does not prove who the shopper is."""


def make_token(customer_id: str, secret: str, expires_s: int) -> str:
    """A token that names a shopper until a moment in time.

    Parameters
    ----------
    customer_id : str
    secret : str
        The key that the app's backend and the sidecar share.
    expires_s : int
        Seconds since 1970-01-01 UTC.
    """
    name = base64.urlsafe_b64encode(customer_id.encode()).decode().rstrip("=")
    payload = f"{name}.{expires_s}"
    return f"{payload}.{_signature(payload, secret)}"


def read_token(token: str, secret: str, now_s: float) -> str:
    """The shopper whom a token names.

    Raises
    ------
    TokenError
        Malformed, expired, or signed by somebody else.
    """
    payload, _, signature = token.rpartition(".")
    if not token.isascii() or not hmac.compare_digest(signature, _signature(payload, secret)):
        raise TokenError("X-Sidecar-Token: the signature does not fit")
    name, _, expires = payload.partition(".")
    try:
        if int(expires) <= now_s:
            raise TokenError("X-Sidecar-Token: expired")
        return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except TokenError:
        raise
    except (ValueError, binascii.Error):
        raise TokenError("X-Sidecar-Token: malformed") from None


def _signature(payload: str, secret: str) -> str:
    digest = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
