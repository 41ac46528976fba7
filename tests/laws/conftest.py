"""Laws run without a clock; on CI hypothesis' own ``ci`` profile also makes them repeatable."""

from __future__ import annotations

import os

from hypothesis import settings

if not os.environ.get("CI"):
    settings.register_profile("no clock", deadline=None)
    settings.load_profile("no clock")
