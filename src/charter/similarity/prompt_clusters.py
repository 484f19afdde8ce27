"""Clusters of near-duplicate prompts.

Prompts are read one at a time, several times over. What is held of a text is some numbers, and its marks lie in files
where they are many, so that as many prompts are compared as the disk has room for."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from charter.records.chat import Prompt
from charter.similarity import overlap
from charter.similarity.mark_sets import MarkStack
from charter.similarity.spelling import fold_lookalikes, normalize_text
from charter.similarity.wordings import (
    CHARACTERS,
    PAIRS,
    WordBatch,
    character_grams,
    cut_batches,
    leave_one_word_out,
    word_trigrams,
)

FORM, FORM_SHARE = 12, 0.1
"""More wordings than so many, and than this share of all prompts, are a form with gaps that its author filled, and each
is a prompt of its own. ``split_prompts`` marks them (``form`` in what is said of them), so that the guard knows."""
MARK_BYTES = 16
"""A text is known again by so many bytes of its BLAKE2b, which tell 10^15 texts apart."""


def conversation_prefixes(prompt: Prompt) -> list[str]:
    """What a model is asked on the way through a conversation: its text up to each user turn. The last is the whole;
    before it there is nothing where the prompt has one turn."""
    ends = [n for n, message in enumerate(prompt.messages, 1) if message.role == "user"]
    before = ["\n".join(m.content for m in prompt.messages[:end]) for end in ends if end < len(prompt.messages)]
    return [*before, prompt.text]


def may_be_reworded(prompt: Prompt) -> bool:
    """Whether another wording of a prompt is near to it: not where it is from a world, or of a form."""
    return not prompt.source.startswith("world:") and "form" not in prompt.meta


def tell_template(prompt: Prompt) -> str:
    """The template that a set made a prompt of, before every text in order; empty where there is none."""
    template = prompt.meta.get("template")
    return f"\0{template}" if template else ""


def cluster_prompts(prompts: Sequence[Prompt], threshold: float) -> list[int]:
    """The number of the cluster of each prompt, as ``split_prompts`` tells them."""
    groups, _ = find_clusters(prompts, threshold)
    return [int(group) for group in groups]


def find_clusters(prompts: Sequence[Prompt], threshold: float) -> tuple[Any, Any]:
    """The clusters of prompts.

    Args:
        prompts: those to compare. They are read one after the other, several times over.
        threshold: the Jaccard similarity of word trigrams from which two are near, 0 to 1.

    Returns:
        The number of the cluster of each prompt, and how many texts its form has, 0 where it is of none: int64,
        [prompts] each.

    Raises:
        StoreError: The disk has no room for the marks.
    """
    texts = _number_texts(prompts)
    groups, forms = _cluster_texts(prompts, texts, threshold)
    return groups[texts.wholes], forms[texts.wholes] * texts.reworded


@dataclass(frozen=True)
class _Texts:
    """What prompts ask, each different text by a number. One prompt after the other has a place for each of its
    ``conversation_prefixes``: ``numbers`` has the text of each place, and ``owners`` its prompt; ``firsts`` the place
    where each text first comes; ``ends`` the place of each prompt's whole; ``reworded`` whether a prompt may be."""

    numbers: Any
    owners: Any
    firsts: Any
    ends: Any
    reworded: Any

    @property
    def wholes(self) -> Any:
        """The number of the whole text of each prompt."""
        return self.numbers[self.ends]

    def mark(self, numbers: Any) -> Any:
        """Whether each text is one of these: booleans."""
        import numpy as np

        held = np.zeros(len(self.firsts), bool)
        held[numbers] = True
        return held


def _number_texts(prompts: Sequence[Prompt]) -> _Texts:
    import numpy as np

    marks, counts, reworded = bytearray(), array("q"), bytearray()
    for prompt in prompts:
        before = len(marks)
        for text in conversation_prefixes(prompt):
            plain = normalize_text(text).encode("utf-8", "surrogatepass")
            marks += hashlib.blake2b(plain, digest_size=MARK_BYTES).digest()
        counts.append((len(marks) - before) // MARK_BYTES)
        reworded.append(may_be_reworded(prompt))
    _, firsts, numbers = np.unique(np.frombuffer(marks, f"S{MARK_BYTES}"), return_index=True, return_inverse=True)
    order = np.argsort(firsts)  # texts are numbered as they come
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    owners = np.repeat(np.arange(len(counts)), counts)
    return _Texts(rank[numbers], owners, firsts[order], np.cumsum(counts) - 1, np.frombuffer(reworded, bool))


def _cluster_texts(prompts: Sequence[Prompt], texts: _Texts, threshold: float) -> tuple[Any, Any]:
    """The cluster of each text by number, and the size of the form of each, or 0."""
    import numpy as np

    anchors, size = texts.mark(texts.wholes), len(texts.firsts)
    stacks = _stack_marks(prompts, texts)
    groups = overlap.link_near_sets(stacks.pop().read(), threshold, anchors, np.arange(size))
    wide = overlap.link_sharing_sets(stacks.pop().read(), anchors, groups)
    wide = overlap.link_near_sets(stacks.pop().read(), CHARACTERS, anchors, wide, PAIRS)
    sizes = np.bincount(wide[anchors], minlength=size)
    form = sizes[wide] > max(FORM, int(anchors.sum()) * FORM_SHARE)
    is_opening = np.ones(len(texts.numbers), bool)
    is_opening[texts.ends] = False
    ways, wholes = texts.numbers[is_opening], texts.wholes[texts.owners[is_opening]]
    asked = anchors[ways]
    groups = _join(np.where(form, groups, wide + size), ways[asked], wholes[asked])
    groups = _join(groups, *_pair_templates(prompts, texts.wholes))
    near = np.zeros(size, bool)  # an opening tells only where a prompt is near to it
    near[groups[anchors]] = True
    told = ~asked & near[groups[ways]]
    return _join(groups, ways[told], wholes[told]), sizes[wide] * form


def _stack_marks(prompts: Sequence[Prompt], texts: _Texts) -> list[MarkStack]:
    """The marks of each text: runs of characters, what is left without a word, and trigrams of words. The former two of
    texts alone that may be reworded."""
    grams, lessened, trigrams = stacks = [MarkStack(), MarkStack(), MarkStack()]
    loose = texts.mark(texts.numbers[texts.reworded[texts.owners]])
    begun = 0
    for batch in cut_batches(_iterate_words(prompts, texts.firsts)):
        trigrams.append(word_trigrams(batch))
        wanted = loose[begun : begun + len(batch.texts)].tolist()
        begun += len(batch.texts)
        if not all(wanted):
            batch = WordBatch([words if want else () for words, want in zip(batch.texts, wanted, strict=True)])
        lessened.append(leave_one_word_out(batch))
        grams.append(character_grams(batch))
    return stacks


def _iterate_words(prompts: Sequence[Prompt], firsts: Any) -> Iterator[list[str]]:
    """The words of each different text, where it first comes."""
    places = count()
    wanted = iter(firsts)
    first = next(wanted, None)
    for prompt in prompts:
        for text in conversation_prefixes(prompt):
            if next(places) == first:
                yield fold_lookalikes(normalize_text(text)).split()
                first = next(wanted, None)


def _pair_templates(prompts: Sequence[Prompt], wholes: Any) -> tuple[Any, Any]:
    """The text of each prompt that is made of a template, and the first text of that template."""
    import numpy as np

    known: dict[str, int] = {}
    made, first = array("q"), array("q")
    for prompt, whole in zip(prompts, wholes, strict=True):
        if name := tell_template(prompt):
            made.append(whole)
            first.append(known.setdefault(name, whole))
    return np.asarray(made), np.asarray(first)


def _join(groups: Any, one: Any, other: Any) -> Any:
    """The groups by number from 0 on, with those of each pair of texts joined."""
    import numpy as np

    return overlap.join_groups(np.unique(groups, return_inverse=True)[1], one, other)
