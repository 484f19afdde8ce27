"""``charter explain``: what a rule, a row, a prompt or a score of a run hangs together with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from charter.cli.terminal import AsJson, RunFolder, print_json, print_out, print_table

if TYPE_CHECKING:
    from charter.records.rules import Principle
    from charter.reports.explanation import ExplainedCheckpoint, ExplainedRow, Explanation, QuestionKind, RunExplanation

MAX_LISTED, MAX_WIDTH = 8, 60
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
    from charter.reports import explanation as explaining

    asked: dict[QuestionKind, str | None] = {"principle": principle, "row": row, "prompt": prompt, "score": score}
    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --principle, --row, --prompt and --score")
    found = explaining.explain_item(directory, *given[0])
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    _print_explanation(found)


def _print_explanation(found: Explanation) -> None:
    for rule in found.rules if found.kind != "score" else ():
        print_out(_rule_line(rule))
    titles = {rule.id: rule.title or rule.text[:MAX_WIDTH] for rule in found.rules}
    for part in found.runs:
        print_out(f"\nIn the run {part.run}{'' if part.head else ' (not finished)'}:")
        _print_wordings(part)
        _print_failures(part)
        _print_rows(part, titles)
        _print_checkpoints(part, found, titles)
        _print_ends(part)
    if found.note:
        print_out(found.note)


def _rule_line(rule: Principle) -> str:
    efficacy = rule.efficacy
    mends = f", mends {efficacy.passed_with} of {efficacy.n} unseen failures" if efficacy and efficacy.n else ""
    text = f"Rule {rule.id}: {rule.title or rule.text}\n  {rule.text}\n"
    return text + f"  {rule.status}, caused by {len(rule.because)} failures{mends}"


def _print_wordings(part: RunExplanation) -> None:
    if not part.wordings:
        return
    rows: list[tuple[object, ...]] = [("id", "iteration", "wording", "became")]
    for wording in part.wordings[:MAX_LISTED]:
        check = wording.check
        passed = f"passed: mends {len(check.mended)} of {check.tried} shown failures"
        became = passed if check.reason is None else f"refused, {check.reason}: {_shorten(check.why)}"
        rows.append((check.id, wording.folder, _shorten(check.text), became))
    print_table(rows, f"Wordings that were checked: {len(part.wordings)}{_more_line(part.wordings)}")


def _print_failures(part: RunExplanation) -> None:
    if not part.failures:
        return
    rows: list[tuple[object, ...]] = [("failure", "found in", "prompt", "judged", "became")]
    for failure in part.failures[:MAX_LISTED]:
        became = f"row {failure.row}" if failure.row else f"nothing: {'; '.join(failure.dropped) or 'no revision kept'}"
        rows.append((failure.id, failure.folder, _shorten(failure.prompt), _shorten(failure.verdict), became))
    kept = sum(bool(failure.row) for failure in part.failures)
    print_table(rows, f"Failures: {len(part.failures)}, of which {kept} became rows{_more_line(part.failures)}")


def _print_rows(part: RunExplanation, titles: dict[str, str]) -> None:
    if not part.rows:
        return
    rows: list[tuple[object, ...]] = [("row", "kind", "made in", "for", "response", "in the training set of")]
    for made in part.rows[:MAX_LISTED]:
        used = (
            ", ".join(f"{step}{f' x {count}' if count > 1 else ''}" for step, count in made.uses_by_checkpoint.items())
            or "none"
        )
        rows.append((made.id, made.origin, made.folder, _rules_text(made, titles), _shorten(made.response), used))
    print_table(rows, f"Rows: {len(part.rows)}{_more_line(part.rows)}")


def _print_checkpoints(part: RunExplanation, found: Explanation, titles: dict[str, str]) -> None:
    of_score = found.kind == "score"
    fourth = "rows by rule" if of_score else "of these"
    rows: list[tuple[object, ...]] = [("checkpoint", "digest", "rows", fourth, "decision", "scores that moved")]
    for trained in part.checkpoints:
        by_rule = "; ".join(f"{titles.get(rule, rule)}: {count}" for rule, count in trained.by_rule.items())
        fifth = f"{trained.decision}{' (the last policy)' if trained.final else ''}"
        these = by_rule if of_score else trained.of_these
        rows.append((trained.step, trained.digest[:12], trained.rows, these, fifth, _changes_text(trained, of_score)))
    if len(rows) > 1:
        print_table(rows, "Checkpoints; scores against the policy before, exact McNemar with Holm, p < 0.05", (2,))
    else:
        print_out("No checkpoint was trained.")


def _changes_text(trained: ExplainedCheckpoint, every: bool) -> str:
    told = [
        f"{move.split} {move.metric}{f' ({move.category})' * bool(move.category)}: {move.before} -> {move.after}"
        f" of {move.n}"
        f"{', worse' * (move.is_worse and move.is_significant)}{f', p = {move.p_holm:.2g}' if every else ''}"
        for move in trained.moves
        if every or move.is_significant
    ]
    return "\n".join(told) or ("not measured" if not trained.moves else "none")


def _print_ends(part: RunExplanation) -> None:
    if part.measured:
        rows: list[tuple[object, ...]] = [("measured in", "model", "answer", "found")]
        for answer in part.measured:
            outcomes = ", ".join(f"{name}: {_outcome_text(value)}" for name, value in answer.outcomes.items())
            rows.append((f"{answer.folder} {answer.split}", answer.model, _shorten(answer.answer), outcomes))
        print_table(rows, "This prompt, where it was measured")


def _rules_text(made: ExplainedRow, titles: dict[str, str]) -> str:
    names = "; ".join(titles.get(rule, rule) for rule in made.rules)
    return names or ("no rule" if not made.shown else f"written under {made.shown} rules")


def _outcome_text(value: bool | None) -> str:
    return "unjudged" if value is None else "yes" if value else "no"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}…"


def _more_line(listed: tuple[object, ...]) -> str:
    return f" (the first {MAX_LISTED}; all: --json)" if len(listed) > MAX_LISTED else ""
