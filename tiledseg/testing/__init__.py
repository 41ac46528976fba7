"""For tests of a new backend: `contracts` to certify it, `strategies` to draw its input."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tiledseg.testing.contracts"
)  # so that a failed assert explains itself
