"""A detector of your own: ticket numbers, which are masked in training rows.

options: {curate: {enabled: true, detectors: ["python:examples.detector_plugin:TicketDetector"]}}
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from charter.data.curation.curation_records import DetectedSpan

TICKET = re.compile(r"\bTICKET-[0-9]{4,8}\b")


class TicketDetector:
    """Finds ticket numbers by their form."""

    identity = "tickets 1"

    def find(self, text: str) -> Sequence[DetectedSpan]:
        """Every place where one stands."""
        return [DetectedSpan("ticket", found.start(), found.end()) for found in TICKET.finditer(text)]
