"""What the tests of tuners begin with."""

from __future__ import annotations

import pytest

from charter.models import weights
from charter.records.model_refs import ModelRef
from tests.fakes import tiny_models


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A small model that is to be trained."""
    return weights.resolve_model(str(tiny_models.build(tmp_path_factory.mktemp("start"))))
