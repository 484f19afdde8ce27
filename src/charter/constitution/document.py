"""A constitution: ordered principles with a version and a parent. It is amended, never edited in place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from charter.constitution.collective_input import import_polis
from charter.constitution.rule_documents import import_rules
from charter.constitution.rule_lists import load_rules
from charter.errors import SpecError
from charter.ports import Embedder
from charter.records.record import Record, canonical, digest
from charter.records.rules import Amendment, Norm, Principle
from charter.similarity.vectors import compare_meanings

_LINE_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")


class Constitution(Record):
    """``parent`` is the digest of the version before; empty for the first. ``amendments``: what made this version of
    it. ``source``: the document that the rules were imported from, with its digest."""

    id: str = "constitution"
    version: int = 0
    parent: str = ""
    principles: tuple[Principle, ...] = ()
    amendments: tuple[Amendment, ...] = ()
    source: str = Field("", exclude_if=lambda source: not source)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole, efficacy included."""
        return digest(self)

    @property
    def active(self) -> tuple[Principle, ...]:
        """The principles in force, in order."""
        return tuple(p for p in self.principles if p.status == "approved")

    def principle(self, key: str) -> Principle:
        """The principle with this id. Raises KeyError."""
        return {p.id: p for p in self.principles}[key]

    def amend(self, principles: Sequence[Principle], amendments: Sequence[Amendment] = ()) -> Constitution:
        """The next version with these principles; the same version where nothing changed."""
        if tuple(principles) == self.principles:
            return self
        return Constitution(
            version=self.version + 1,
            parent=self.digest,
            principles=tuple(principles),
            amendments=tuple(amendments),
        )

    def without(self, ids: Sequence[str]) -> Constitution:
        """The same constitution with some principles left out (for measuring what they do)."""
        return self.model_copy(update={"principles": tuple(p for p in self.principles if p.id not in ids)})


def rules_text(constitution: Constitution, template: str = "- {text}") -> str:
    """The principles in force, one line each, in the wording of ``template``."""
    return "\n".join(template.replace("{text}", " ".join(p.text.split())) for p in constitution.active)


def select_nearest_rules(
    texts: Mapping[str, tuple[str, Sequence[str]]],
    constitution: Constitution,
    room: int | None,
    template: str,
    embedder: Embedder | None = None,
) -> dict[str, Constitution]:
    """The rules to show for each text (by id, with the rules that are left out for it): all; where the whole takes more
    than ``room`` characters, those that are nearest to the text, as many as fit, in their order. Nearness goes by
    meaning, and without an embedder by words (TF-IDF)."""
    shown = {omitted: constitution.without(omitted) for omitted in {tuple(left_out) for _, left_out in texts.values()}}
    if room is None or len(rules_text(constitution, template)) <= room or not texts:
        return {key: shown[tuple(left_out)] for key, (_, left_out) in texts.items()}
    rules = constitution.active
    said, worded = [text for text, _ in texts.values()], [f"{p.title} {p.text} {p.scope}" for p in rules]
    nearness = _rule_cosines(said, worded, embedder)
    made = {}
    for (key, (_, left_out)), near in zip(texts.items(), nearness, strict=True):
        left, kept = room, set[str]()
        for _, p in sorted(zip(near, rules, strict=True), key=lambda pair: -pair[0]):
            size = len(rules_text(Constitution(principles=(p,)), template)) + 1
            if p.id not in left_out and (size <= left or not kept):  # the nearest one in any case
                kept.add(p.id)
                left -= size
        made[key] = constitution.without([p.id for p in rules if p.id not in kept])
    return made


def _rule_cosines(texts: Sequence[str], rules: Sequence[str], embedder: Embedder | None) -> list[list[float]]:
    """Cosine of each text with each rule; by words, zeros where no rule has one."""
    if embedder is not None:
        by_meaning: list[list[float]] = compare_meanings(embedder, texts, rules).tolist()
        return by_meaning
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    try:
        table = weights.fit_transform(rules)
    except ValueError:
        return [[0.0] * len(rules) for _ in texts]
    found: list[list[float]] = (weights.transform(texts) @ table.T).toarray().tolist()
    return found


def extract_norms(constitution: Constitution) -> tuple[Norm, ...]:
    """What people decided: the rules that they added or reworded hold, those that they took back hold no longer, unless
    a rule in force says the same."""
    said = {" ".join(p.text.lower().split()) for p in constitution.active}
    return tuple(
        Norm(id=p.id, text=p.text, holds=p.status == "approved")
        for p in constitution.principles
        if p.by == "people"
        and (p.status == "approved" or (p.status != "proposed" and " ".join(p.text.lower().split()) not in said))
    )


def amend_by_people(before: Constitution, after: Constitution, notes: Mapping[str, str] | None = None) -> Constitution:
    """The next version: what ``after`` says differently from ``before`` is what people decided. A rule that ``after``
    lacks is retired. ``notes``: why, by principle id."""
    old, new = {p.id: p for p in before.principles}, {p.id: p for p in after.principles}
    made, changes = [], []
    for key in [*old, *(k for k in new if k not in old)]:
        was, now = old.get(key), new.get(key)
        now = now if now is not None else old[key].model_copy(update={"status": "retired"})
        if was is not None and (was.text, was.status) == (now.text, now.status):
            made.append(was)
            continue
        reworded = was is not None and was.text != now.text
        action = "reworded" if reworded else _ACTION_BY_STATUS.get(now.status, "added") if was is not None else "added"
        made.append(now.model_copy(update={"by": "people"} | ({"efficacy": None, "breadth": None} if reworded else {})))
        reason = (notes or {}).get(key) or "people decided it"
        said = {"before": was.text, "after": now.text} if was is not None and reworded else {}
        change = {"id": f"{action}/{key}", "action": action, "principles": (key,), "reason": reason, "by": "people"}
        changes.append(Amendment.model_validate(change | said))
    return before.amend(made, changes)


_ACTION_BY_STATUS = {"approved": "restored", "rejected": "rejected", "retired": "retired"}


def to_yaml(constitution: Constitution) -> str:
    """YAML that ``from_yaml`` reads back to an equal constitution; all escaped where YAML would fold a break in it."""
    value, readable = constitution.model_dump(mode="json"), not _LINE_BREAKS.search(canonical(constitution))
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=readable, width=100)


def from_yaml(text: str, name: str = "constitution", ending: str = "") -> Constitution:
    """Reads a constitution, or rules as people write them: see ``rule_lists``. Rules of a list are approved.

    Raises SpecError with every fault."""
    value = load_rules(text, name, ending)
    try:
        made = Constitution.model_validate(value)
    except ValidationError as error:
        faults = tuple(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{name} is not a constitution", faults, "See the constitution page of the docs.") from error
    twice = [key for key, count in Counter(p.id for p in made.principles).items() if count > 1]
    if twice:
        faults = tuple(f"{key}: this id occurs twice" for key in twice)
        raise SpecError(f"{name} is not a constitution", faults, "Give each rule an id of its own.")
    return made


def read_constitution(path: Path) -> Constitution:
    """Reads a constitution file. Raises SpecError."""
    try:
        return from_yaml(path.read_text(encoding="utf-8-sig"), str(path), path.suffix)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", cure="Give the path of a constitution file.") from error


def read_document(path: Path) -> Constitution:
    """The rules of a document with headings, of a file in another's shape, or of a folder that Polis exported. Raises
    SpecError."""
    if path.is_dir():
        return Constitution.model_validate(import_polis(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}", cure="Give the path of a Markdown document.") from error
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return from_yaml(text, str(path), path.suffix)
    return Constitution.model_validate(import_rules(text, path.name))


def to_markdown(constitution: Constitution) -> str:
    """A page for people: each rule with its status, causes and measured efficacy."""
    lines = [f"# Constitution, version {constitution.version}", ""]
    for p in constitution.principles:
        lines += [
            f"## {p.title or p.id}",
            "",
            p.text,
            "",
            f"*{p.id}, {p.status}, caused by {len(p.because)} failures*",
            "",
        ]
        if p.efficacy is not None and p.efficacy.difference is not None:
            e = p.efficacy
            lines += [
                f"Mends {e.passed_with} of {e.n} unseen failures, without it {e.passed_without} of {e.n}"
                f"{f' (exact McNemar, Holm: p = {e.p_holm:.3g})' if e.p_holm is not None else ''}.",
                "",
            ]
        elif p.efficacy is not None:
            lines += [f"Efficacy not measured: {p.efficacy.note}.", ""]
    return "\n".join(lines)


def diff(before: Constitution, after: Constitution) -> str:
    """Unified diff of the two in words; empty where they say the same."""

    def lines(c: Constitution) -> list[str]:
        return [f"{p.id} [{p.status}] {p.title}: {p.text}\n" for p in c.principles]

    return "".join(
        unified_diff(lines(before), lines(after), f"version {before.version}", f"version {after.version}", n=1)
    )
