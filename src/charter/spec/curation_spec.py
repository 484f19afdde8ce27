"""How training rows are sifted before a policy is tuned on them."""

from __future__ import annotations

from pydantic import Field

from charter.records.record import Record


class CurationSpec(Record):
    """Filters for training rows, between verification and tuning; nothing is sifted unless ``enabled``. In this order:

    ``decontaminate``: leaves out rows that hold a text of a benchmark in use, of gate or of held-out: verbatim, in a
    run of ``ngram`` words, or with one word in ``changed`` altered. ``exact``: rows that say the same after
    normalisation. ``near``: rows whose word trigrams reach this Jaccard similarity. ``rejudge``: rows whose target the
    judge finds wanting when it is asked again. ``language_share``, ``length_share``: no language, and no length (rows
    of up to 8, 16, 32 ... words), has more than this share of the rows, as far as there are others. ``mask``: personal
    data and secrets in the rows that stay are masked; ``detectors``: further ones of your own
    (``python:package.module:Object``) that find what is masked."""

    enabled: bool = False
    exact: bool = True
    near: float | None = Field(None, gt=0, le=1)
    decontaminate: bool = True
    ngram: int = Field(13, ge=4)
    changed: int = Field(8, ge=2)
    rejudge: bool = False
    mask: bool = True
    detectors: tuple[str, ...] = ()
    language_share: float = Field(1.0, gt=0, le=1)
    length_share: float = Field(1.0, gt=0, le=1)
