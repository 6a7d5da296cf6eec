"""Networks from optional packages."""

from __future__ import annotations

from depthmask.base.errors import UserError
from depthmask.params import ModelParams

OPTIONAL_NETWORKS = ("smp_unet",)


def find_missing(model: ModelParams) -> str | None:
    """Why a network from an optional package cannot be built here; None if it can, or needs no such package."""
    if model.name not in OPTIONAL_NETWORKS:
        return None
    from depthmask.models import make_network  # late: only a network that may be missing is built

    try:
        make_network(model.network)
    except UserError as error:
        return str(error)
    return None
