"""A model's adapter lies in the run, or has its whole path."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from charter.records.model_refs import ModelRef


@pytest.mark.parametrize(
    "adapter", ["../other/adapter", "001/../../x", "001/policy/..", "a\\b", "a\0b", "/a\0b", "", "a//b"]
)
def test_an_adapter_that_leads_out_of_the_run_is_refused(adapter: str) -> None:
    with pytest.raises(ValidationError, match="leads out of the run"):
        ModelRef(base="b", base_digest="", digest="d", adapter=adapter)


@pytest.mark.parametrize("adapter", [None, "001/policy", "/models/one", "..hidden/x"])
def test_an_adapter_of_the_run_or_with_its_whole_path_is_read(adapter: str | None) -> None:
    found = ModelRef.model_validate_json(
        ModelRef(base="b", base_digest="", digest="d", adapter=adapter).model_dump_json()
    )
    assert found.adapter == adapter
