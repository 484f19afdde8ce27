"""What the tests of near texts begin with."""

from __future__ import annotations

import pytest

from tests.similarity.small_parts import make_parts_small


@pytest.fixture(params=["usual", "small"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The limits as they are, and then so small that few texts meet all of them."""
    if request.param == "small":
        make_parts_small(monkeypatch)
    return str(request.param)
