"""A valid file, in parts."""

from __future__ import annotations

import pytest
from tower import cases

from hostile.files import Parts


@pytest.fixture
def parts() -> Parts:
    return Parts(cases.random_weights(1))
