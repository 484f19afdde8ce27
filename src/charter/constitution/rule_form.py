"""The form of a rule: what can be told of a wording without any model.

The lists of words are English. What they cannot tell, and other languages, are left to the judge."""

from __future__ import annotations

import re

MAX_SENTENCES = 3
"""A rule has one to three sentences."""
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|«[^»]*»|「[^」]*」')
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr)\.(?=\s*\S)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[。！？।]+|[.!?]+(?=[\s\"'”’)]|$)")
_FIRST_PERSON = re.compile(
    r"(?:^|[.!?,;:]\s*|\b(?:and|but|that|as|if|when|because|so)\s+)[Ii]\s+(?=[a-z])"
    r"|\b[Ii]['’](?:m|ll|ve|d)\b"
    r"|\b[Ii]\s+(?:am|was|will|would|can|cannot|could|have|had|do|did|must|should|shall|may|might)\b"
    r"|\b(?:[Mm]e|[Mm]y|[Mm]yself|[Ww]e|[Oo]ur|us|[Oo]urselves)\b"
)
_TO_USER = re.compile(
    r"^\W*(?:dear|hello|hi|hey)\b[^.!?]{0,20}\b(?:user|reader|customer|friend|everyone)s?\b"
    r"|^\W*(?:users?|readers?|customers?)\s*,"
    r"|\byour\s+(?:own\s+|personal\s+|bank\s+|online\s+)*(?:accounts?|passwords?|computers?|devices?|phones?|money|home"
    r"|family|health|doctor|information)\b",
    re.IGNORECASE,
)


_OF_REQUEST = re.compile(r"\b(?:within|between|in|inside|of)\s+the\s+(?:\w+\s+)?fences?\b", re.IGNORECASE)
"""The request to write a rule puts failures between fences; a rule that speaks of them repeats the request."""
_OF_RULES = re.compile(
    r"^\W*(?:these|those|this|the following|the above|all)\s+(?:\w+\s+)?"
    r"(?:rules?|guidelines?|principles?|constitution)\b",
    re.IGNORECASE,
)
"""A wording that says what rules are about is none."""

_FAULTS = (
    (_FIRST_PERSON, "it speaks in the first person"),
    (_TO_USER, "it speaks to the user"),
    (_OF_REQUEST, "it speaks of how it was asked for"),
    (_OF_RULES, "it speaks of rules, and gives none"),
)


_TO_ASSISTANT = re.compile(
    r"^\W*(?:when|if|whenever)\s+(?:asked|(?:someone|a\s+user|users)\s+(?:asks?|requests?|wants?))\b"
    r".{0,300}?\b(?:decline|refuse)\b",
    re.IGNORECASE | re.DOTALL,
)
"""An order to decline what is asked: only who answers can follow it. "When users fit ..., never ..." advises users."""
_ORDER = re.compile(r"^\W*(?:do not|don't|never|decline|refuse|avoid)\b", re.IGNORECASE)
"""An order to leave something be."""


def forbids_something(text: str) -> bool:
    """Whether a wording is an order that forbids something: "Do not ...", "When asked for ..., decline". In English."""
    return _ORDER.match(text) is not None or orders_assistant(text)


def orders_assistant(text: str) -> bool:
    """Whether a wording orders the assistant to decline by its very form: "When asked for ..., decline". In English."""
    return _TO_ASSISTANT.match(text) is not None


def find_form_fault(text: str) -> str:
    """What speaks against a wording's form, in words; empty where nothing does. Quoted words do not count."""
    plain = _ABBREVIATION.sub(" ", _QUOTED.sub(" ", text)).strip()
    count = sum(re.search(r"\w", part) is not None for part in _SENTENCE_END.split(plain))
    if not count:
        return "it has no words of its own"
    if count > MAX_SENTENCES:
        return f"it has {count} sentences, and a rule has one to three"
    for pattern, fault in _FAULTS:
        if found := pattern.search(plain):
            return f"{fault} ({_clean(found[0])})"
    if "?" in plain or "？" in plain:
        return "it asks something"
    return ""


def _clean(text: str) -> str:
    return text.strip(" .!?,;:")
