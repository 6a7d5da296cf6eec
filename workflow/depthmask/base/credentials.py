"""Keeps passwords, tokens and signatures in URLs out of every file and every line of output.

DVC copies params.yaml into dvc.lock, and both are in git. So a URL with credentials in params.yaml or in a list of sets is
rejected (`describe_secret`); name it by an environment variable instead: `env:NAME`, which `read_address` looks up.
`mask_secrets` is the second line of defence: everything printed or recorded passes through it, because redirects and errors
contain URLs too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from depthmask.base.errors import UserError

MASK = "***"
FROM_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
HOW_ELSE = (
    "put user and password into ~/.netrc, S3 keys where AWS tools look for them, or the whole address into an environment"
    " variable that download.urls names as env:NAME"
)
# parameter names: of signed URLs (AWS, Google, Azure, CloudFront), and common names of tokens and keys
WORDS = "token|secret|passw|passphrase|signature|credential|(?:api|access|account|private|subscription)[-_]?key|bearer|jwt"
NAMES = "sig|sign|key|auth|authorization|policy|key-pair-id|googleaccessid|hmac|sas|pwd|pw|pass|session|sessionid|sid"
SECRET = re.compile(rf"(?:.*(?:{WORDS}).*|{NAMES})", re.IGNORECASE | re.DOTALL)
# the parts of a signed URL that differ from one signature to the next
PASSING = re.compile(r"x-(?:amz|goog)-.*|expires|se|st|sp|sv|sr|spr|sks?|ske|skt|skv|skoid|sktid|sip", re.IGNORECASE)

NAME, VALUE = r"[\w.$~%\[\]-]{1,80}?", r'[^\s&#"<>]*'
# lookahead only: the value of a harmless parameter may be followed by `;token=...`
PARAMETER = re.compile(rf"[?&;#]({NAME})=(?=({VALUE}))")
ENCODED_PARAMETER = re.compile(rf'(?:%3F|%26|%23|%3B)({NAME})%3D(?=((?:(?!%26|%23)[^\s&#"<>])*))', re.IGNORECASE)
# a password may contain / ? # that should have been encoded; HOST:PORT/... is not user and password
USER = re.compile(
    r"([a-z][a-z0-9+.-]*:(?://|\\/\\/))"
    r'(?:(?!\[)[^\s/?#@:"<>]*:(?!\d{0,5}(?:[/?#]|$))[^\s"<>]*|[^\s/?#"<>]*)@',
    re.IGNORECASE,
)
ENCODED_USER = re.compile(r'(%3A%2F%2F)(?:(?!%2F|%3F|%23)[^\s/?#&"<>])*?(?:%40|@)', re.IGNORECASE)
HEADER = re.compile(r"(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token|digest)\s+)[^\s'\"]+", re.IGNORECASE)
PIECE_MIN, PATH_MIN = 8, 16  # characters: shorter pieces of a secret URL would match ordinary words and local paths

_known: dict[str, str] = {}  # secret texts from this process's environment, and the placeholder for each


def mask_secrets(text: str) -> str:
    """Replace users, passwords, tokens and signatures in URLs by ***; idempotent."""
    for value, stands_for in _known.items():
        text = text.replace(value, stands_for)
    if "@" in text:
        text = USER.sub(rf"\g<1>{MASK}@", text)
    if "%" in text:
        text = ENCODED_USER.sub(rf"\g<1>{MASK}@", text)
        text = _mask_parameters(ENCODED_PARAMETER, text)
    if "=" in text:
        text = _mask_parameters(PARAMETER, text)
    return HEADER.sub(rf"\g<1>{MASK}", text)


def mask_values(value: Any) -> Any:
    """Mask every string in a JSON value; keys are kept."""
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, dict):
        return {key: mask_values(one) for key, one in value.items()}
    return [mask_values(one) for one in value] if isinstance(value, (list, tuple)) else value


def find_secret(address: str) -> str | None:
    """Which part of a URL is secret: its user, or a parameter by name; None if none is. *** does not count."""
    for user in (USER.match(address), ENCODED_USER.search(address)):
        if user is not None and user[0] != f"{user[1]}{MASK}@":
            return "a user or a password"
    for name, value in [*PARAMETER.findall(address), *ENCODED_PARAMETER.findall(address)]:
        if _is_secret(name) and value not in ("", MASK):
            return f"the parameter {unquote(name)[:40]}"
    return None


def describe_secret(address: str) -> str | None:
    """Why a URL must not be stored in a file, without repeating the secret; None if it may be."""
    secret = find_secret(address)
    if secret is None:
        return None
    return f"{mask_secrets(address)} contains {secret}, which would be copied into dvc.lock and kept; {HOW_ELSE}"


def read_address(url: str) -> str:
    """Look up the URL behind `env:NAME`; return any other URL unchanged.

    Raises:
        UserError: the variable is not set, or does not contain an http(s) URL.
    """
    named = FROM_ENVIRONMENT.fullmatch(url)
    if named is None:
        return url
    address = os.environ.get(named[1], "").strip()
    if not address:
        raise UserError(f"{url}: the environment variable {named[1]} is not set; set it to the address")
    if re.fullmatch(r"https?://[^\s\x00-\x1f\x7f]+", address) is None:
        raise UserError(f"{url}: {named[1]} does not contain an address that begins with http:// or https://; correct it")
    _remember(address, url)
    return address


def list_unset(urls: Iterable[str]) -> list[str]:
    """The environment variables named by URLs that are not set."""
    named = [FROM_ENVIRONMENT.match(url) for url in urls]
    return [found[1] for found in named if found is not None and not os.environ.get(found[1])]


def identify(address: str) -> str:
    """The URL without user, token and signature: equal for all URLs of one file."""
    parts = urlsplit(address)
    named = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in named if not _is_secret(name)]
    if len(kept) < len(named):
        kept = [(name, value) for name, value in kept if PASSING.fullmatch(name) is None]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


def _remember(address: str, stands_for: str) -> None:
    """From now on messages show `stands_for` in place of the URL, and *** for pieces of it that errors show."""
    parts = urlsplit(address)
    _known[address] = stands_for
    for piece in (f"{parts.path}?{parts.query}", parts.query, parts.password or "", unquote(parts.password or "")):
        if len(piece) >= PIECE_MIN:
            _known.setdefault(piece, MASK)
    if len(parts.path) >= PATH_MIN:
        _known.setdefault(parts.path, MASK)


def _is_secret(name: str) -> bool:
    return SECRET.fullmatch(unquote(unquote(name))) is not None


def _mask_parameters(pattern: re.Pattern, text: str) -> str:
    pieces, at = [], 0
    for found in pattern.finditer(text):
        if found.start() >= at and _is_secret(found[1]):
            pieces += [text[at : found.end()], MASK]
            at = found.end(2)
    return "".join([*pieces, text[at:]])
