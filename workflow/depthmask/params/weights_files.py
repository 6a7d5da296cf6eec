"""Where a file of weights is, as `model.init` and `model.encoder_weights` say it: ADDRESS#sha256=HEX."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from depthmask.base.credentials import find_secret, mask_secrets

HTTP = re.compile(r"https?://[^\s/][^\s]*")
HUB = re.compile(r"hf://(?P<model>[\w.-]+/[\w.-]+)/(?P<path>[\w./-]+)@(?P<revision>[\w./-]+)")
ALLOWED = "PATH, http(s)://..., or hf://OWNER/NAME/PATH@REVISION, each followed by #sha256=HEX"


@dataclass(frozen=True)
class WeightsFile:
    """address: a path, or a URL of http(s) or hf. sha256: of the file; None if it was not given."""

    address: str
    sha256: str | None

    @property
    def path(self) -> Path | None:
        """The file, if it is on this machine."""
        return None if "://" in self.address else Path(self.address)


def read_weights_file(text: str) -> WeightsFile:
    """Read ADDRESS#sha256=HEX; the sha256 may be missing, so that whoever reads the file can say what it is.

    Raises:
        ValueError: the address is of another kind, contains a secret, or the sha256 is not one.
    """
    address, marker, digits = text.rpartition("#sha256=")
    if not marker:
        address, digits = text, None
    elif re.fullmatch("[0-9a-fA-F]{64}", digits) is None:
        raise ValueError(f"{text}: #sha256= is followed by {len(digits)} characters; allowed: 64 hex digits")
    secret = find_secret(address)
    if secret is not None:
        raise ValueError(
            f"{mask_secrets(address)} contains {secret}, which would be copied into dvc.lock and kept; put user and password into"
            " ~/.netrc and the Hub's token into HF_TOKEN, or fetch the file yourself and set its path"
        )
    if not address or ("://" in address and not (HTTP.fullmatch(address) or HUB.fullmatch(address))):
        raise ValueError(f"{text}: is not the address of a file; allowed: {ALLOWED}")
    return WeightsFile(address, digits and digits.lower())
