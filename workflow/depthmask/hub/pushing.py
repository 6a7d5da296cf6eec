"""Pushes a model file with its card to the Hugging Face Hub, in one commit."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from depthmask import __version__
from depthmask.base.errors import UserError
from depthmask.base.terminal import note
from depthmask.hub.address import FILE, SCHEME, HubAddress
from depthmask.hub.failures import LOG_IN, find_endpoint, import_hub, translate_errors
from depthmask.models.model_file import DepthMaskModel, load_model, save_model

CARD = "README.md"
MESSAGE = "Model written by depthmask {version}"


def push_model(
    model: DepthMaskModel,
    address: HubAddress,
    card: str,
    *,
    private: bool = False,
    half: bool = False,
    message: str | None = None,
) -> tuple[HubAddress, int]:
    """Create the repository if it is missing, and commit model file and card to it; the address of the commit, and bytes.

    private: of a repository that is created. half: see `save_model`. A commit with the same files as the last one is none: the
    address is that of the last one.

    Raises:
        UserError: there is no token, no permission, no network, or the Hub refuses the files.
    """
    hub, where = import_hub(), f"{SCHEME}{address.repository}"
    with translate_errors(where, address.repository, writes=True):
        api = hub.HfApi(endpoint=find_endpoint(), library_name="depthmask", library_version=__version__)
        if not hub.get_token():
            raise UserError(f"{where}: pushing needs a token with write permission; {LOG_IN}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        save_model(model, file, half=half)
        load_model(file)
        size = file.stat().st_size
        with translate_errors(where, address.repository, writes=True), _note_warnings():
            api.create_repo(address.repository, private=private or None, exist_ok=True)
            done = api.create_commit(
                address.repository,
                [hub.CommitOperationAdd(FILE, str(file)), hub.CommitOperationAdd(CARD, card.encode())],
                commit_message=message or MESSAGE.format(version=__version__),
                revision=address.revision,
            )
    return replace(address, revision=done.oid), size


@contextlib.contextmanager
def _note_warnings() -> Iterator[None]:
    """What the Hub says of a card that it takes nevertheless."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for warning in said:
        note(" ".join(str(warning.message).split()))
