"""Which words a text shares with others in one run: what tells a copy from a wording of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from charter.similarity.spelling import has_unspaced_script, normalize_text


def find_shared_run(text: str, others: Collection[str], words: int, allowed: Collection[str] = ()) -> str:
    """The first run of so many words that a text shares with one of the others; empty where there is none. Runs of the
    texts ``allowed`` may be shared.

    Words are compared in the spelling of ``normalize_text``. Two letters of a script without spaces count as one."""
    own = dict.fromkeys(_iterate_runs(text, words))
    known = {run for other in others for run in _iterate_runs(other, words)} if own else set()
    known -= {run for text in allowed for run in _iterate_runs(text, words)} if known else set()
    return next((run for run in own if run in known), "")


def find_repeated_run(text: str, words: int, times: int) -> str:
    """The first run of so many words that comes so many times in a text; empty where none does. Words are counted as in
    ``find_shared_run``."""
    counts = Counter(_iterate_runs(text, words))
    return next((run for run, count in counts.items() if count >= times), "")


def _iterate_runs(text: str, words: int) -> Iterator[str]:
    """The run of so many words from each word on; none where the text ends before."""
    parts = normalize_text(text).split()
    sizes = [1 if has_unspaced_script(part) else 2 for part in parts]
    end, held = 0, 0
    for start, size in enumerate(sizes):
        while held < 2 * words and end < len(parts):
            held += sizes[end]
            end += 1
        if held < 2 * words:
            return
        yield " ".join(parts[start:end])
        held -= size
