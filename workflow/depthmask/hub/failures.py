"""What can go wrong with the Hugging Face Hub, each in one line that never has the token."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from depthmask.base.errors import UserError, format_install_command

EXTRA = format_install_command("hub")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
REASON_MAX = 200
CLIENT_ERRORS = (400, 409, 413, 422)


def import_hub():
    """The package huggingface_hub; raises UserError where it is not installed."""
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars, logging
    except ImportError as error:
        raise UserError(f"models on the Hugging Face Hub need the package huggingface_hub; install with: {EXTRA}") from error
    logging.set_verbosity_error()  # what matters of its warnings is said in ours
    if not sys.stderr.isatty():
        disable_progress_bars()
    return huggingface_hub


def find_endpoint() -> str | None:
    """The server that HF_ENDPOINT names, as it is now: huggingface_hub reads the variable once. None for the Hub itself."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint and not endpoint.lower().startswith(("http://", "https://")):
        raise UserError("environment: HF_ENDPOINT: not a URL; write it as https://HOST")
    return endpoint or None


@contextlib.contextmanager
def translate_errors(where: str, repository: str, writes: bool = False) -> Iterator[None]:
    """Turn whatever huggingface_hub raises in the block into a UserError. where: what is named, first in the line.

    writes: whether the block changes the repository.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of its own, of its HTTP library, of the disk: they have no common class
        raise UserError(f"{where}: {_explain(error, repository, writes)}") from error


def _explain(error: Exception, repository: str, writes: bool) -> str:
    from huggingface_hub import errors

    match error:
        case errors.HFValidationError():
            return "not the name of a repository on the Hub (OWNER/NAME); correct it"
        case errors.LocalTokenNotFoundError():
            return f"needs a token; {LOG_IN}"
        case errors.GatedRepoError():
            return f"available only after accepting its terms; do so at https://huggingface.co/{repository}, then {LOG_IN}"
        case errors.RevisionNotFoundError():
            return "has no such revision; correct it"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            if writes:
                return "the Hub cannot be reached; connect to the network, and try again"
            return "not in the cache, and the Hub cannot be reached; connect to the network, or name a model file on this machine"
        case errors.EntryNotFoundError():
            return "has no such file; correct its path, or choose another repository"
        case errors.RepositoryNotFoundError():
            if writes:
                return f"no such repository, or no permission to write there; correct the name, or {LOG_IN} with write permission"
            return f"no such repository, or a private one; correct the name, or {LOG_IN} with permission to read it"
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    reason = _shorten(error)
    if status in (401, 403):
        return f"no permission{' to write there' if writes else ''} ({reason}); {LOG_IN} with permission"
    if status is not None:
        advice = "correct what it names" if status in CLIENT_ERRORS else "try again later"
        return f"the Hub responded {status} ({reason}); {advice}"
    if _is_of_the_network(error):
        return f"the Hub cannot be reached ({reason}); connect to the network, and try again"
    return f"{'cannot be pushed' if writes else 'cannot be fetched'} ({reason}); try again"


def _is_of_the_network(error: Exception) -> bool:
    """Of its HTTP library, whose name differs from version to version."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, ConnectionError | TimeoutError) or package.startswith(("http", "requests"))


def _shorten(error: Exception) -> str:
    """What an error says, in a line, without the token and without the number of the request, which comes first."""
    server = getattr(error, "server_message", None)
    strerror = error.strerror if isinstance(error, OSError) else None
    text = " ".join(str(server or strerror or error).split()) or type(error).__name__
    token = import_hub().get_token()
    text = text.replace(token, "***") if token else text
    return text if len(text) <= REASON_MAX else f"{text[:REASON_MAX]}..."
