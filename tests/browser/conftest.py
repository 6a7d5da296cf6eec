"""A browser for the tests of pages. Needs Debian's chromium and chromium-driver."""

from __future__ import annotations

import pytest
from starting_chromium import FLAGS, start_chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A browser that is asked for nothing that is not on this machine."""
    with start_chromium(tmp_path_factory.mktemp("profile"), FLAGS, {"browser": "ALL"}) as chrome:
        yield chrome
