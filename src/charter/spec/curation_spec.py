"""How training rows are sifted before a policy is tuned on them."""

from __future__ import annotations

from pydantic import Field

from charter.records.record import Record


class CurationSpec(Record):
    """Filters for training rows, between verification and tuning. They run in the order of the keys of the page on
    curation."""

    enabled: bool = Field(False, description="True filters the rows; false leaves them as they are.")
    exact: bool = Field(True, description="True leaves out rows that say the same after normalisation.")
    near: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Leaves out rows whose word trigrams reach this Jaccard similarity. Null: keeps them.",
    )
    decontaminate: bool = Field(
        True,
        description="True leaves out rows that hold a text of gate, of held-out or of a benchmark in use.",
    )
    ngram: int = Field(13, ge=4, description="A common run of so many words is contamination.")
    words_per_change: int = Field(8, ge=2, description="A text is found although one word in so many is altered.")
    rejudge: bool = Field(
        False,
        description="True asks the judge about each target again, and leaves out what it finds wanting.",
    )
    mask: bool = Field(True, description="True masks personal data and secrets in the rows that stay.")
    detectors: tuple[str, ...] = Field(
        (), description="Detectors of your own that find what is masked, each `python:package.module:Object`."
    )
    language_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The largest share of the rows that one language may have. 1: as they come.",
    )
    length_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The largest share of the rows that one length (up to 8, 16, 32 ... words) may have. 1: as they "
        "come.",
    )
