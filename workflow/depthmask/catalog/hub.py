"""Files of a repository of the Hugging Face Hub, fetched or from the cache, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from depthmask.base.errors import UserError
from depthmask.base.files import JsonError, read_json


def fetch_repository(name: str, revision: str | None, patterns: Sequence[str], key: str, revision_key: str) -> Path:
    """The folder in the cache that the files matching `patterns` of a repository are in; its name is their commit.

    revision: None for the newest. key, revision_key: of params.yaml, where name and revision are set.

    Raises:
        UserError: they cannot be fetched.
    """
    import huggingface_hub  # late: comes with an optional package
    from huggingface_hub import errors

    where = f"{key}: {name}"
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except errors.HFValidationError as error:
        raise UserError(f"{where}: neither a folder nor a model on the Hugging Face Hub (OWNER/NAME); correct it") from error
    except errors.GatedRepoError as error:
        raise UserError(
            f"{where}: available only after accepting its terms; do so at https://huggingface.co/{name} and then"
            " `hf auth login`, or choose another model"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{where}: no such folder, and no such public model on the Hugging Face Hub; correct it") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{revision_key}: {revision}: {name} has no such revision; correct it") from error
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{where}: cannot be fetched: it is not in the cache, and the Hugging Face Hub cannot be reached;"
            " connect to the network, or set it to a folder that contains the model"
        ) from error
    except Exception as error:  # of its own, of its HTTP library, of the disk: they have no common class
        reason = " ".join(str(error).split())[:160]
        advice = "try again, or set it to a folder that contains the model"
        raise UserError(f"{where}: cannot be fetched ({reason}); {advice}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a JSON file; raises ValueError that names the file and says what is wrong, without a remedy."""
    try:
        values = read_json(path)
    except JsonError as error:
        raise ValueError(f"{path}: is not JSON ({error.reason})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: contains no settings")
    return values
