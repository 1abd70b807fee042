"""What mends a connection that fails, known by the error's words: neither OpenSSL nor redis-py says it otherwise."""

from __future__ import annotations

_URL = "MAKIMA_TTS_REDIS_URL or MAKIMA_TTS_SESSION_REDIS_URL"
_OWN = "MAKIMA_TTS_REDIS_CERT_FILE and MAKIMA_TTS_REDIS_KEY_FILE"
_TRUST = "set MAKIMA_TTS_REDIS_CA_FILE to a PEM file with the authority that signed the server's certificate"
_WITH_TLS = f"if it speaks TLS, write rediss:// in {_URL}; if it asks for a certificate, set {_OWN}"
_WITHOUT_TLS = f"start Redis there; if it speaks no TLS, write redis:// in {_URL}"
_TAKEN = f"set {_OWN} to a certificate that the server's authority signed, and its key"
_PAIR = f"set {_OWN} to a certificate and its own key, both PEM"

# The first that is found counts. redis-py says the last three while it connects; later, link and pipeline speak.
_ADVICE = {
    "certificate is not valid for": f"name the host that the certificate is made out to in {_URL}",
    "certificate has expired": "renew the server's certificate, or its authority's",
    "certificate is not yet valid": "set this machine's clock, or make the server's certificate anew",
    "certificate verify failed": _TRUST,
    "no certificate or crl found": _TRUST,
    "PEM lib": _PAIR,
    "key values mismatch": _PAIR,
    "alert certificate required": _TAKEN,
    "alert handshake failure": _TAKEN,  # TLS 1.2's word for it
    "alert unknown ca": _TAKEN,
    "alert bad certificate": _TAKEN,
    "wrong version number": _WITHOUT_TLS,
    "no connection within": _WITHOUT_TLS,  # Redis waits for the end of a line that no handshake has
    "Timeout connecting to server": _WITHOUT_TLS,
    "Error while reading from": _WITH_TLS,
    "while writing to socket": _WITH_TLS,
    "Connection closed by server": _WITH_TLS,
}


def advice_on(error: BaseException) -> str | None:
    """What to set; None where the words say nothing of it."""
    said = str(error)
    return next((advice for words, advice in _ADVICE.items() if words in said), None)
