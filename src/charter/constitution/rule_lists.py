"""Rules as people write them: YAML and JSON lists, Markdown lists, plain text with a rule a line.

Every rule is read whole and as it stands, or refused with its line and the cure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from charter.errors import SpecError
from charter.records.rules import Principle
from charter.spec.yaml_text import check_yaml_bounds

QUOTE = "Put the rule in quotation marks, or write it as `title:` and `text:`."
FORMS = "Give a YAML list of texts, a Markdown list, or a rule a line; `charter constitution import` reads documents."
LISTS = ("rules", "constitution", "constitutions", "traits")
"""Keys under which others publish a list of rules, beside our own ``principles``."""
CRITIQUES = ("critique", "critique_request", "critic", "prompt")
REVISIONS = ("revision", "revision_request", "edit_request", "revise", "edit")
TRAITS = {"trait", "clarification", "questions", "additional_questions"}
"""Keys of a trait with questions that probe it; the questions are no rules."""
_ABOUT = {"id", "name", "title", "version", "description", "source", "license", "licence"}
_ITEM = re.compile(r"( *)(?:[-*+]\s+|-(?=[^\W\d])|[•–—‣◦]\s*|\(?\d{1,3}[.)]\s+)(?=\S)(.*)")
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_OWN = "tag:yaml.org,2002:"
_WORDS = ("title", "text", "scope", "id", "authority")


def load_rules(text: str, name: str, ending: str = "") -> Any:
    """A constitution as a plain value: its mapping, or a mapping with the rules that a list holds.

    ``ending`` of the file's name says which form it has: .md, .markdown and .txt are text, all others YAML or JSON.
    Raises SpecError with the line of every fault."""
    if ending.lower() in (".md", ".markdown", ".txt"):
        return {"principles": _numbered(list(_text_rules(text, name)), name)}
    value, lines = _value(text, name)
    if isinstance(value, str) and len(text.strip().splitlines()) > 1:
        return {"principles": _numbered(list(_text_rules(text, name)), name)}
    if isinstance(value, dict) and isinstance(value.get("principles"), list):
        return {**value, "principles": [_rule(n, rule) for n, rule in enumerate(value["principles"], 1)]}
    rules = _listed(value)
    if rules is None:
        return value
    return {"principles": _numbered(rules, name, lines)}


def _listed(value: Any) -> list[Any] | None:
    """The rules of a list, or of the shapes in which others publish them; None where the value is none of these."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or not value:
        return None
    for key in LISTS:
        if isinstance(value.get(key), list) and set(value) - {key} <= _ABOUT:
            return list(value[key])
    if all(isinstance(part, dict) and _pair(part) for part in value.values()):
        return [{"title": str(key), "text": _pair(part)} for key, part in value.items()]
    if all(isinstance(part, str) for part in value.values()) and not set(value) & {"id", "version", "parent"}:
        return [{"title": str(key), "text": part} for key, part in value.items()]
    return None


def _numbered(rules: Sequence[Any], name: str, lines: Sequence[int] = ()) -> list[Any]:
    """Rules with ids. Raises SpecError where one is empty, or says the same as another."""
    made, faults, known = [], [], dict[str, int]()
    for number, rule in enumerate(rules, 1):
        where = f"rule {number}{f' (line {lines[number - 1]})' if number <= len(lines) else ''}"
        found = _rule(number, rule)
        text = found.get("text") if isinstance(found, dict) else None
        if rule is None or (isinstance(text, str) and not text.strip()):
            faults.append(f"{where} is empty: it has no words")
        elif isinstance(text, str):
            same = " ".join(text.casefold().split()).rstrip(".!;")
            if same in known:
                faults.append(f"{where} says the same as rule {known[same]}: it stands twice: {text:.80}")
            known.setdefault(same, number)
        elif not isinstance(rule, Mapping):
            faults.append(f"{where} is read as {type(rule).__name__}, and not as words: {rule!s:.60}")
        made.append(found)
    if faults:
        raise SpecError(f"{name} is not a constitution", tuple(faults), f"Leave one of a kind. {QUOTE}")
    return made


def _rule(number: int, rule: Any) -> Any:
    if isinstance(rule, str):
        return {"id": f"p{number:03d}", "title": rule[:60], "text": rule, "status": "approved"}
    if not isinstance(rule, Mapping):
        return rule
    if isinstance(rule.get("trait"), str) and set(rule) <= TRAITS:
        return _rule(number, " ".join(filter(None, (rule["trait"].strip(), rule.get("clarification") or ""))))
    if "text" not in rule and (pair := _pair(rule)):
        return {**_rule(number, pair), "title": str(rule.get("title") or rule.get("name") or pair[:60])}
    return {"id": f"p{number:03d}", "title": "", "status": "approved", **rule}


def _pair(part: Mapping[str, Any]) -> str:
    """A critique and a revision as one rule; empty where the mapping is no such pair."""
    named = {_snake(str(key)): value for key, value in part.items()}
    critique = next((named[key] for key in CRITIQUES if isinstance(named.get(key), str)), "")
    revision = next((named[key] for key in REVISIONS if isinstance(named.get(key), str)), "")
    known = {*CRITIQUES, *REVISIONS, "title", "name", "id"}
    return f"{critique.strip()} {revision.strip()}" if critique and revision and set(named) <= known else ""


def _snake(key: str) -> str:
    return re.sub(r"[\s-]+|(?<=[a-z])(?=[A-Z])", "_", key).lower()


def _value(text: str, name: str) -> tuple[Any, list[int]]:
    """The value that a YAML or JSON text holds, and the line of each element of a list."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text), []
        except (ValueError, RecursionError):
            pass  # YAML's own lists look alike
    try:
        check_yaml_bounds(text, name)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, []
            holder = _rule_holder(node)
            rules = list(holder.value) if holder is not None else []
            faults = [fault for n, rule in enumerate(rules, 1) for fault in _faults(n, rule, text)]
            if faults:
                raise SpecError(f"{name} is not a constitution", tuple(faults), QUOTE)
            if holder is not None:
                holder.value = [_as_words(rule, text) for rule in rules]
            return loader.construct_document(node), [rule.start_mark.line + 1 for rule in rules]
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text, name) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{name} is not YAML: {error!s:.300}", cure=FORMS) from error


def _rule_holder(node: yaml.Node) -> yaml.SequenceNode | None:
    """The list of the rules in a document."""
    if isinstance(node, yaml.SequenceNode):
        return node
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value in ("principles", *LISTS) and isinstance(value, yaml.SequenceNode):
            return value
    return None


def _faults(number: int, node: yaml.Node, text: str) -> Iterator[str]:
    """What would be lost of a rule as it is written."""
    where = f"rule {number} (line {node.start_mark.line + 1})"
    if isinstance(node, yaml.SequenceNode):
        yield f"{where}: YAML reads a list here, and not words"
        return
    worded = [node]
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        yield from (f"{where}: the key `{key}` stands twice" for key in dict.fromkeys(keys) if keys.count(key) > 1)
        known = {*Principle.model_fields, *TRAITS, *CRITIQUES, *REVISIONS}
        if not _is_words(node) and not any(_snake(key) in known for key in keys):
            yield f"{where}: YAML reads keys here ({', '.join(keys)!s:.60}), and not words"
        worded = [value for key, value in node.value if key.value in _WORDS or _is_words(node)]
    for part in worded:
        if not isinstance(part, yaml.ScalarNode):
            continue
        after = text[part.end_mark.index :].partition("\n")[0]
        raw = " ".join(text[part.start_mark.index : part.end_mark.index].split())
        if part.style is None and re.match(r"[ \t]+#", after):
            yield f"{where}: YAML takes {after.strip()!r:.60} for a comment, from the sign # on, and drops it"
        elif not part.tag.startswith("tag:yaml.org,2002:") or (
            part.style is None and raw != " ".join(part.value.split())
        ):
            yield f"{where}: YAML takes a sign at the beginning of {raw!r:.60} for its own"


def _is_words(node: yaml.MappingNode) -> bool:
    """Whether a mapping is a rule with a colon in it: one plain key that no rule has."""
    if len(node.value) != 1 or node.flow_style:
        return False
    key, value = node.value[0]
    plain = (
        isinstance(key, yaml.ScalarNode) and key.style is None and key.value not in (*Principle.model_fields, "trait")
    )
    return plain and isinstance(value, yaml.ScalarNode) and value.style is None


def _as_words(node: yaml.Node, text: str) -> yaml.Node:
    """A rule whose words are a text, whatever YAML would take them for: a number, a date, no, a pair."""
    if isinstance(node, yaml.MappingNode) and _is_words(node):
        key, value = node.value[0]
        end = value.end_mark.index if value.value else text.find("\n", key.start_mark.index)
        words = " ".join(text[key.start_mark.index : end if end >= 0 else len(text)].split())
        return yaml.ScalarNode(f"{_OWN}str", words, node.start_mark, node.end_mark)
    worded = [node] if isinstance(node, yaml.ScalarNode) else []
    if isinstance(node, yaml.MappingNode):
        worded = [value for key, value in node.value if key.value in _WORDS and isinstance(value, yaml.ScalarNode)]
    for part in worded:
        if part.tag != f"{_OWN}null" or (part.value and part is node):
            part.tag = f"{_OWN}str"
    return node


def _unreadable(error: yaml.MarkedYAMLError, text: str, name: str) -> SpecError:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark is not None else 0
    words = (text.splitlines() or [""])[min(line, max(0, len(text.splitlines()) - 1))]
    if "\t" in words[: len(words) - len(words.lstrip("-\t "))]:
        what, cure = "a tab stands before the rule, which YAML does not take", "Write a blank in place of the tab."
    else:
        what, cure = f"{error.problem or error.context}: {words.strip()!r:.80}", f"{QUOTE} {FORMS}"
    return SpecError(f"{name} is not YAML", (f"line {line + 1}: {what}",), cure)


def _text_rules(text: str, name: str) -> Iterator[str]:
    """The items of a list in Markdown, or the lines of a plain text. Raises SpecError."""
    lines = re.sub(r"\A\ufeff?---\n.*?\n---\n", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL).splitlines()
    listed = any(_ITEM.match(line) for line in lines)
    if any(_HEADING.match(line) for line in lines) and not _is_list(lines):
        cure = f"Make rules of it: charter constitution import {name} --out rules.yaml"
        raise SpecError(f"{name} is a document with headings, and no list of rules", cure=cure)
    rule, before = "", ""
    for number, line in enumerate(lines, 1):
        words, item = line.strip().strip("\ufeff"), _ITEM.match(line)
        if not words or _HEADING.match(line):
            before = ""
            continue
        if item and (len(item[1]) < 2 or not rule):
            if rule:
                yield rule
            rule = item[2].strip()
        elif listed and rule and (line[:1].isspace() or before):
            rule = f"{rule}\n{words}" if item else f"{rule} {words}"
        elif listed:
            cure = "Begin each rule with a dash or a number, or write a rule a line without any."
            raise SpecError(f"{name}: line {number} stands in no item of the list: {words!r:.60}", cure=cure)
        elif before and words[0].islower() and before[-1] not in ".!?;:":
            cure = "Write one rule a line, each on a line of its own, or begin each with a dash."
            raise SpecError(f"{name}: line {number} seems to go on with the rule before: {words!r:.60}", cure=cure)
        else:
            yield words
        before = words
    if rule:
        yield rule


def _is_list(lines: Sequence[str]) -> bool:
    """Whether a text holds but headings and a list."""
    rest = [line for line in lines if line.strip() and not _HEADING.match(line)]
    return bool(rest) and bool(_ITEM.match(rest[0])) and all(_ITEM.match(line) or line[:1].isspace() for line in rest)
