"""How texts are spelt for comparison: which signs matter, which letters are the same, and what counts as a word."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

import regex

from charter.records.chat import Message

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u30FC"
"""Letters of scripts that are written without spaces between words."""
_SIGN = rf"[{_UNSPACED}]\p{{M}}*"
_TOKENS = regex.compile(
    rf"[[\w\p{{M}}]--[{_UNSPACED}]]+"  # a word, with its vowel signs and tone marks
    rf"|{_SIGN}"  # a letter of a script without spaces is a word of its own, with its marks
    r"|!=|[\p{Sm}]+|[\p{Sc}\p{So}]"  # signs of mathematics and money, symbols, emoji
    r"|(?<=\w)(?:#|%)|(?<=\d\s?)[*/\^\-](?=\s?\d)",  # C#, 5 %, and signs between numbers
    regex.V1,
)
_PLAIN = re.compile(r"\w+|!=|[+<=>|~]+|\$|(?<=\w)[#%]|(?:(?<=\d)|(?<=\d\s))[*/^-](?=\s?\d)", re.ASCII)
"""The same for ASCII, where it is much faster."""
_UNSEEN = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}\u0640]")
"""What takes no room of its own: joiners, soft hyphens, marks of direction, variation selectors, Arabic's kashida."""
_BARE = regex.compile(r"[\p{M}&&[\p{Arabic}\p{Hebrew}\u064B-\u0655\u0670]]", regex.V1)
"""Vowel marks that Arabic and Hebrew are written with or without."""

LOOK_ALIKE = str.maketrans(
    "авсԁенһіјӏкмоԛрѕтԝхуүαβεγικνορτυχϲϳօսոցհյıɡɑکیىہ",
    "abcdehhijlkmoqpstwxyyabeyikvoptuxcjounghjigaكييه",
)
"""Cyrillic, Greek, Armenian and further letters by the Latin letter that they look like, in small or capital form
(confusables.txt of Unicode's UTS #39, those letters that keyboards offer); then Persian and Urdu letters by the Arabic
ones."""


def normalize_text(text: str) -> str:
    """The words of a text and the signs that carry meaning, in lower case: two texts are the same where these are.

    Full-width letters, ligatures, and letters with their accents apart are those that they look like (NFKC, case
    folded). Characters without width do not count. A letter of a script without spaces is a word of its own. A text
    without any word or symbol is told by its signs."""
    if text.isascii():
        plain = text.lower()
        return " ".join(_PLAIN.findall(plain)) or "".join(plain.split())
    plain = _UNSEEN.sub("", _nfkc(_nfkc(text).casefold())).replace("i\u0307", "i")  # as of Turkish dotted capital I
    return " ".join(_TOKENS.findall(plain)) or "".join(plain.split())


def normalize_turns(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    """Speakers and normalised texts of a prompt: its copies have the same ones."""
    return tuple((message.role, normalize_text(message.content)) for message in messages)


def fold_lookalikes(text: str) -> str:
    """The normalised text for comparison only: letters are those that they look like, and Arabic and Hebrew stand
    without their vowel marks."""
    plain = normalize_text(text)
    if plain.isascii():
        return plain
    return _nfkc(_BARE.sub("", unicodedata.normalize("NFC", plain)).translate(LOOK_ALIKE))


def has_unspaced_script(text: str) -> bool:
    """Whether a text holds a letter of a script without spaces."""
    return not text.isascii() and regex.search(_SIGN, text) is not None


def count_words(text: str) -> int:
    """How many words a text has. Two letters of a script without spaces count as one."""
    if text.isascii():
        return len(text.split())
    letters = len(regex.findall(_SIGN, text))
    return len(regex.sub(rf"{_SIGN}|[。、！？，；：「」]", " ", text).split()) + math.ceil(letters / 2)


def begins_with_letter(text: str) -> bool:
    """Whether a text begins with a letter of any script, or with an opening mark that goes before one."""
    return regex.match(r"[¿¡\p{Pi}「『《〈【]?\p{L}", text) is not None


def first_words(text: str, count: int) -> str:
    """So many words at the start of a text, as they stand between spaces in lower case; where it is written without
    spaces, as many letters as make so many words."""
    parts: list[str] = []
    for part in _nfkc(text).lower().split() if not text.isascii() else text.lower().split():
        letters = regex.findall(_SIGN, part) if has_unspaced_script(part) else [part]
        parts += letters
    size = 2 * count if has_unspaced_script("".join(parts[: 2 * count])) else count
    return " ".join(parts[:size])


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)
