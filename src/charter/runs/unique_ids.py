"""Whether an id comes twice among many, without holding them all."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO

from charter.runs import store

_BUCKETS, _MARK_BYTES = 256, 16
"""Temporary files that the marks of ids are dealt to, by their first byte; 16 bytes tell 10^15 ids apart."""


def find_repeated_id(ids: Callable[[], Iterable[str]]) -> str | None:
    """The first id found to come twice; None where each comes once.

    Few ids are counted. Of many a mark is kept on disk, 16 bytes each, and one 256th of the marks is held at a time.

    Args:
        ids: Gives all ids anew, in the same order.
    """
    few = list(islice(ids(), store.MAX_HELD + 1))
    if len(few) <= store.MAX_HELD:
        return next((id for id, count in Counter(few).items() if count > 1), None)
    repeated = _find_repeated_mark(map(_mark_id, ids()))
    return None if repeated is None else next(id for id in ids() if _mark_id(id) == repeated)


def _find_repeated_mark(marks: Iterator[bytes]) -> bytes | None:
    with ExitStack() as opened:
        buckets: list[IO[bytes]] = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(_BUCKETS)]
        for mark in marks:
            buckets[mark[0]].write(mark)
        for bucket in buckets:
            bucket.seek(0)
            seen: set[bytes] = set()
            while mark := bucket.read(_MARK_BYTES):
                if mark in seen:
                    return mark
                seen.add(mark)
    return None


def _mark_id(id: str) -> bytes:
    return hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=_MARK_BYTES).digest()
