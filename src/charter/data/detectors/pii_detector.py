"""Personal data by the pattern recognisers of Presidio (Microsoft, MIT licence): patterns with check sums, no model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

from charter.data.curation.curation_records import DetectedSpan
from charter.errors import EngineError

ENTITY_KINDS = {
    "EmailRecognizer": "EMAIL",
    "PhoneRecognizer": "PHONE",
    "CreditCardRecognizer": "CARD",
    "IbanRecognizer": "IBAN",
    "IpRecognizer": "IP",
    "UsSsnRecognizer": "SSN",
    "CryptoRecognizer": "WALLET",
}
"""Recognisers that stand for themselves: what they find needs no words around it to be told from ordinary text."""
MIN_SCORE = 0.4
"""Least score of Presidio's that counts: that of a telephone number of a known form."""


class PiiDetector:
    """Finds what ``KINDS`` names. Raises EngineError where the extra is not installed."""

    @property
    def identity(self) -> str:
        """Library, version and kinds."""
        return f"presidio-analyzer {version('presidio-analyzer')}: {', '.join(ENTITY_KINDS.values())}"

    def find(self, text: str) -> Sequence[DetectedSpan]:
        """Every place with a score of at least ``SURE``."""
        spans = []
        for kind, recogniser in self._detectors:
            for found in recogniser.analyze(text, recogniser.supported_entities, None) or ():
                if found.score >= MIN_SCORE:
                    spans.append(DetectedSpan(kind, found.start, found.end))
        return spans

    @cached_property
    def _detectors(self) -> list[tuple[str, Any]]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import tldextract
                from presidio_analyzer import predefined_recognizers as predefined
        except ModuleNotFoundError as error:
            what = f"Masking needs a package that is not installed: {error.name}."
            raise EngineError(what, "pip install 'charter[curate]', or leave masking out.") from error
        domains = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())  # the list that it ships with: no network

        class Email(predefined.EmailRecognizer):
            def validate_result(self, pattern_text: str) -> bool:
                return bool(domains(pattern_text).suffix)

        kinds: dict[str, Any] = {name: getattr(predefined, name) for name in ENTITY_KINDS} | {"EmailRecognizer": Email}
        return [(kind, kinds[name]()) for name, kind in ENTITY_KINDS.items()]
