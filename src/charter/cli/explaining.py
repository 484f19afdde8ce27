"""``charter explain``: what a rule, a row, a prompt or a score of a run hangs together with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import AsJson, RunFolder, put, put_json, put_table

if TYPE_CHECKING:
    from charter.nouns import Principle
    from charter.reports.explain import Asked, Explanation, Made, Part, Trained

SHOWN, WIDE = 8, 60
"""Rows of one table, and characters of one text, on the terminal; ``--json`` gives all."""


def explain(
    directory: RunFolder,
    principle: Annotated[str | None, typer.Option(metavar="ID", help="A rule of its constitution.")] = None,
    row: Annotated[str | None, typer.Option(metavar="ID", help="A training row.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="A prompt that was asked, or its id.")] = None,
    score: Annotated[str | None, typer.Option(metavar="METRIC", help="A score that was measured.")] = None,
    as_json: AsJson = False,
) -> None:
    """Follow the threads of a run: rule, failures, rows, checkpoints, scores; from either end, across runs that go on.

    Give exactly one of --principle, --row, --prompt and --score.
    """
    from charter.reports import explain as explaining

    asked: dict[Asked, str | None] = {"principle": principle, "row": row, "prompt": prompt, "score": score}
    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --principle, --row, --prompt and --score")
    found = explaining.explain(directory, *given[0])
    if as_json:
        put_json(found.model_dump(mode="json"))
        return
    _told(found)


def _told(found: Explanation) -> None:
    for rule in found.rules if found.kind != "score" else ():
        put(_rule(rule))
    titles = {rule.id: rule.title or rule.text[:WIDE] for rule in found.rules}
    for part in found.runs:
        put(f"\nIn the run {part.run}{'' if part.head else ' (not finished)'}:")
        _failures(part)
        _rows(part, titles)
        _checkpoints(part, found, titles)
        _ends(part)
    if found.note:
        put(found.note)


def _rule(rule: Principle) -> str:
    efficacy = rule.efficacy
    mends = f", mends {efficacy.passed_with} of {efficacy.n} unseen failures" if efficacy and efficacy.n else ""
    text = f"Rule {rule.id}: {rule.title or rule.text}\n  {rule.text}\n"
    return text + f"  {rule.status}, caused by {len(rule.because)} failures{mends}"


def _failures(part: Part) -> None:
    if not part.failures:
        return
    rows: list[tuple[object, ...]] = [("failure", "found in", "prompt", "judged", "became")]
    for failure in part.failures[:SHOWN]:
        became = f"row {failure.row}" if failure.row else f"nothing: {'; '.join(failure.dropped) or 'no revision kept'}"
        rows.append((failure.id, failure.folder, _cut(failure.prompt), _cut(failure.judged), became))
    kept = sum(bool(failure.row) for failure in part.failures)
    put_table(rows, f"Failures: {len(part.failures)}, of which {kept} became rows{_more(part.failures)}")


def _rows(part: Part, titles: dict[str, str]) -> None:
    if not part.rows:
        return
    rows: list[tuple[object, ...]] = [("row", "kind", "made in", "for", "response", "in the training set of")]
    for made in part.rows[:SHOWN]:
        used = ", ".join(f"{step}{f' x {count}' if count > 1 else ''}" for step, count in made.used.items()) or "none"
        rows.append((made.id, made.origin, made.folder, _for(made, titles), _cut(made.response), used))
    put_table(rows, f"Rows: {len(part.rows)}{_more(part.rows)}")


def _checkpoints(part: Part, found: Explanation, titles: dict[str, str]) -> None:
    of_score = found.kind == "score"
    fourth = "rows by rule" if of_score else "of these"
    rows: list[tuple[object, ...]] = [("checkpoint", "digest", "rows", fourth, "decision", "scores that moved")]
    for trained in part.checkpoints:
        by_rule = "; ".join(f"{titles.get(rule, rule)}: {count}" for rule, count in trained.by_rule.items())
        fifth = f"{trained.decision}{' (the last policy)' if trained.final else ''}"
        these = by_rule if of_score else trained.of_these
        rows.append((trained.step, trained.digest[:12], trained.rows, these, fifth, _moved(trained, of_score)))
    if len(rows) > 1:
        put_table(rows, "Checkpoints; scores against the policy before, exact McNemar with Holm, p < 0.05", (2,))
    else:
        put("No checkpoint was trained.")


def _moved(trained: Trained, every: bool) -> str:
    told = [
        f"{move.split} {move.metric}{f' ({move.category})' * bool(move.category)}: {move.before} -> {move.after}"
        f" of {move.n}{', worse' if move.worse and move.moved else ''}{f', p = {move.p_holm:.2g}' if every else ''}"
        for move in trained.moves
        if every or move.moved
    ]
    return "\n".join(told) or ("not measured" if not trained.moves else "none")


def _ends(part: Part) -> None:
    if part.measured:
        rows: list[tuple[object, ...]] = [("measured in", "model", "answer", "found")]
        for answer in part.measured:
            outcomes = ", ".join(f"{name}: {_outcome(value)}" for name, value in answer.outcomes.items())
            rows.append((f"{answer.folder} {answer.split}", answer.model, _cut(answer.answer), outcomes))
        put_table(rows, "This prompt, where it was measured")


def _for(made: Made, titles: dict[str, str]) -> str:
    names = "; ".join(titles.get(rule, rule) for rule in made.rules)
    return names or ("no rule" if not made.shown else f"written under {made.shown} rules")


def _outcome(value: bool | None) -> str:
    return "unjudged" if value is None else "yes" if value else "no"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDE else f"{line[:WIDE]}…"


def _more(listed: tuple[object, ...]) -> str:
    return f" (the first {SHOWN}; all: --json)" if len(listed) > SHOWN else ""
