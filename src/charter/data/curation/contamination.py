"""Which rows hold a text of a benchmark: verbatim, in a long common run of words, or with few words altered.

Texts are compared as normalised words. A text of at least ``SHORTEST`` words is found anywhere in a row; a shorter one
only where it is the whole prompt or a whole turn, for its words stand in many rows by chance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from charter.data.curation.curation_records import FilterMatch
from charter.similarity.spelling import fold_lookalikes

MIN_WORDS = 8
"""Words from which a text is looked for within rows."""
GRAM_SIZE = 3
"""Words of the pieces by which candidates are found."""
EXCERPT_CHARS = 200
"""Characters shown of a text that is matched."""


class ContaminationIndex:
    """Knows the texts of benchmarks, by name. ``ngram``: a run of so many words in common is contamination;
    ``words_per_change``: so is a text of which at most one word in so many (at least one) is changed, added or left
    out."""

    def __init__(self, texts: Mapping[str, Iterable[str]], ngram: int = 13, words_per_change: int = 8) -> None:
        self._ngram, self._words_per_change = ngram, words_per_change
        self._names: list[str] = []
        self._texts: list[str] = []
        self._words: list[list[str]] = []
        self._whole_texts: dict[str, int] = {}
        self._runs: dict[tuple[str, ...], int] = {}
        self._grams: defaultdict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for name, held in texts.items():
            for text in held:
                self._add(name, text)

    def _add(self, name: str, text: str) -> None:
        squeezed = fold_lookalikes(text).replace(" ", "")
        if not squeezed or squeezed in self._whole_texts:
            return
        self._whole_texts[squeezed] = len(self._words)
        for words in _tokenizations(text):
            number = len(self._words)
            self._names.append(name)
            self._texts.append(text)
            self._words.append(words)
            for run in _grams(words, self._ngram):
                self._runs.setdefault(run, number)
            if len(words) >= MIN_WORDS:
                for place, gram in enumerate(_grams(words, GRAM_SIZE)):
                    self._grams[gram].append((number, place))

    def find(self, whole: str, *parts: str) -> FilterMatch | None:
        """The benchmark's text that a row holds. ``parts``: its prompt, its turns and whatever else in it may be a
        short text by itself."""
        for text in dict.fromkeys(filter(None, (*parts, whole))):
            if (number := self._whole_texts.get(fold_lookalikes(text).replace(" ", ""))) is not None:
                return self._to_match(number, "verbatim")
        ways = _tokenizations(whole)
        for words in ways:
            for run in _grams(words, self._ngram):
                if (number := self._runs.get(run)) is not None:
                    return self._to_match(number, "n-gram")
        return next((match for words in ways if (match := self._find_near(words)) is not None), None)

    def _find_near(self, words: Sequence[str]) -> FilterMatch | None:
        """The first text of which a stretch of the row is a copy with few words altered."""
        shared: Counter[int] = Counter()
        places: defaultdict[int, list[int]] = defaultdict(list)
        for at, gram in enumerate(_grams(words, GRAM_SIZE)):
            for number, place in self._grams.get(gram, ()):
                shared[number] += 1
                places[number].append(at - place)
        for number, count in sorted(shared.items(), key=lambda pair: (-pair[1], pair[0])):
            text = self._words[number]
            most = max(1, len(text) // self._words_per_change)
            if count < len(text) - GRAM_SIZE + 1 - GRAM_SIZE * most:
                continue
            for start in sorted(set(places[number])):
                stretch = words[max(0, start - most) : start + len(text) + most]
                if _edit_distance(text, stretch, most) <= most:
                    return self._to_match(number, "near")
        return None

    def _to_match(self, number: int, how: str) -> FilterMatch:
        return FilterMatch(name=self._names[number], how=how, text=self._texts[number][:EXCERPT_CHARS])


def _tokenizations(text: str) -> list[list[str]]:
    """A text's words told apart at every sign, and, where that differs, at spaces alone ("e-mail": two words or one),
    so that to change a word is one alteration whatever it holds."""
    apart = fold_lookalikes(text).split()
    joined = [word for word in (fold_lookalikes(part).replace(" ", "") for part in text.split()) if word]
    return [apart] if joined == apart else [apart, joined]


def _grams(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def _edit_distance(text: Sequence[str], stretch: Sequence[str], most: int) -> int:
    """Fewest words changed, added or left out that make ``text`` of a part of ``stretch``; ``most`` + 1 where there are
    more (edit distance by words, free at both ends of the stretch)."""
    before = [0] * (len(stretch) + 1)
    for row, word in enumerate(text, 1):
        now = [row]
        for column, other in enumerate(stretch, 1):
            now.append(min(before[column - 1] + (word != other), before[column] + 1, now[column - 1] + 1))
        if min(now) > most:
            return most + 1
        before = now
    return min(before)
