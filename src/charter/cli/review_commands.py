"""``charter review``: people label what a run holds, blind and by name, and see how far they agree."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from charter.cli.terminal import AsJson, RunFolder, print_json, print_message, print_out, print_table
from charter.errors import SpecError

if TYPE_CHECKING:
    from charter.cli.review_session import RatingTask
    from charter.jobs.review_results import AgreementReport
    from charter.records.reviews import AgreementFigure, QueueProgress


class RateByDefault(TyperGroup):
    """A group where a run's folder in place of a command means ``rate``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What was asked for."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["rate", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RateByDefault,
    no_args_is_help=True,
    help="People label what a run holds, blind and by name. `charter review RUN` means `charter review rate RUN`.",
)


class Kind(StrEnum):
    """What is reviewed."""

    exchanges = "exchanges"
    pairs = "pairs"
    revisions = "revisions"
    rules = "rules"


class InForm(StrEnum):
    """The programs whose labels are read."""

    label_studio = "label-studio"
    argilla = "argilla"
    inspect = "inspect"
    csv = "csv"


class OutForm(StrEnum):
    """What labels are written as."""

    labelled = "labelled"
    preferences = "preferences"
    label_studio = "label-studio"
    argilla = "argilla"
    inspect = "inspect"
    csv = "csv"


QueueArgument = Annotated[
    str, typer.Argument(metavar="[QUEUE]", help="A queue; where the run has one alone, that one.", show_default=False)
]
RaterName = Annotated[str, typer.Option("--rater", metavar="NAME", help="Who you are.", show_default=False)]
Role = Annotated[str, typer.Option(metavar="ROLE", help="What you are: kept with each label.")]
Said = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="ITEM=LABEL", help="Without a terminal: say so of that item; repeatable."),
]


@app.command()
def create(
    directory: RunFolder,
    kind: Annotated[Kind, typer.Option(metavar="KIND", help="exchanges, pairs, revisions or rules.")],
    count: Annotated[
        int | None, typer.Option("--n", metavar="N", min=1, help="Most items; all where it is not given.")
    ] = None,
    raters: Annotated[int, typer.Option(metavar="N", min=1, help="How many people label each item.")] = 1,
    rubric: Annotated[
        str, typer.Option(metavar="NAME", help="Of exchanges: a shipped rubric or a file; else the run's own.")
    ] = "",
    steps: Annotated[
        list[str] | None,
        typer.Option("--step", metavar="STEP", help="Where the records come from; of pairs give two."),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="The queue's name; q1, q2 ... where none is given.")] = "",
    guideline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What raters go by, instead of the rubric's own text.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the draw; the run's where none is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a queue from a run, and seal it there.

    Of exchanges it holds the last held-out answers, of pairs the answers that the run compared or the held-out answers
    before and after, of revisions first answer and revision, of rules the latest constitution.
    """
    from charter.jobs.review_queues import QueueRequest, create_queue, read_guideline

    text = read_guideline(guideline) if guideline else ""
    asked = QueueRequest(kind.value, count, rubric, raters, tuple(steps or ()), name, text, seed)
    queue, size = create_queue(directory, asked)
    if as_json:
        print_json({**queue.model_dump(mode="json"), "items": size})
        return
    drawn = f"{size} of {queue.population} {queue.kind}"
    each = "1 rater" if queue.raters == 1 else f"{queue.raters} raters"
    print_message(f"{queue.id}: {drawn}, {each} each, guideline {queue.guideline[:12]}")
    print_message(f"Review them: charter review {directory} {queue.id} --rater NAME")


@app.command()
def rate(
    directory: RunFolder,
    queue: QueueArgument = "",
    rater: RaterName = "",
    role: Role = "",
    said: Said = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="With --label: a comment.")] = "",
    corrected: Annotated[str, typer.Option(metavar="TEXT", help="With --label: the answer as it should be.")] = "",
) -> None:
    """Label items one at a time, with keys (press ? there); what others say is hidden until your own label is in.

    Stop at any time: what you said is kept. Several people can review at once.
    """
    from charter.cli.review_session import RatingTask
    from charter.jobs.review_desk import Answer, Rater, ReviewDesk, find_queue, require_name
    from charter.records.reviews import UNSURE

    who = Rater(rater, role)
    require_name(who)
    with ReviewDesk(directory, find_queue(directory, queue)) as desk:
        if said is None:
            _hold_session(RatingTask(desk, who))
            return
        pairs = _split_pairs(said)
        texts = {"comment": comment, "corrected": corrected}
        answers = [(who, Answer(item, None if label == UNSURE else label, **texts)) for item, label in pairs]
        for label in desk.submit_labels(answers):
            print_message(f"{label.id}: {label.item} {label.label or UNSURE}")


@app.command()
def items(directory: RunFolder, queue: QueueArgument = "") -> None:
    """Print a queue's items as JSON lines, as raters see them: texts and menu, no model."""
    import json

    from charter.jobs.review_desk import ReviewDesk, find_queue

    with ReviewDesk(directory, find_queue(directory, queue)) as desk:
        for item in desk.items.values():
            parts = [part._asdict() for part in desk.show_item(item.id)]
            print_out(json.dumps({"item": item.id, "texts": parts, "menu": desk.queue.menu}), data=True)


@app.command()
def status(directory: RunFolder, as_json: AsJson = False) -> None:
    """Show how far each queue of a run is."""
    from charter.jobs.review_desk import list_progress

    found = list_progress(directory)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
    elif not found:
        print_out(f"No queue yet. Make one: charter review create {directory} --kind exchanges")
    else:
        head = ("queue", "kind", "items", "raters each", "complete", "to adjudicate", "settled", "labels by")
        print_table([head, *map(_progress_row, found)], numbers=range(2, 7))


@app.command()
def agree(directory: RunFolder, queue: QueueArgument = "", as_json: AsJson = False) -> None:
    """Show how far raters agree: n, raw agreement, Cohen's kappa, Gwet's AC1, Krippendorff's alpha, 95 % intervals.

    Items with all their raters and no majority are listed: they are to be adjudicated.
    """
    from charter.jobs.review_desk import find_queue
    from charter.jobs.review_results import report_agreement

    report = report_agreement(directory, find_queue(directory, queue))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_agreement(directory, report)


@app.command()
def adjudicate(
    directory: RunFolder,
    queue: QueueArgument = "",
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who settles.", show_default=False)] = "",
    role: Role = "",
    said: Said = None,
    note: Annotated[str, typer.Option(metavar="TEXT", help="With --label: why.")] = "",
) -> None:
    """Settle, by name, the items on which raters disagree. The raters' labels stay beside the decision."""
    from charter.cli.review_session import SettlingTask
    from charter.jobs.review_desk import Rater, ReviewDesk, find_queue, require_name

    who = Rater(by, role)
    require_name(who)
    with ReviewDesk(directory, find_queue(directory, queue)) as desk:
        if said is None:
            _hold_session(SettlingTask(desk, who))
            return
        for item, label in _split_pairs(said):
            found = desk.settle_item(who, item, label, note)
            print_message(f"{found.id}: {found.item} settled as {found.label}")


@app.command()
def decide(
    directory: RunFolder,
    queue: QueueArgument = "",
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE", help="A role that may decide; repeatable; approver and admin by default."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make votes of a review of rules: each label on a decided rule is a vote of its rater, a settlement one of its
    adjudicator.

    Nothing is taken down where somebody has another role, or a rule has another wording by now. It can be given again.
    """
    from charter.jobs.review_desk import find_queue
    from charter.jobs.review_votes import VOTING_ROLES, decide_rules

    name = find_queue(directory, queue)
    found = decide_rules(directory, name, tuple(roles or VOTING_ROLES))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for rule, state in found.states.items():
        print_out(f"{rule}: {state}")
    left = f"; {found.open_items} rules are not decided in it" if found.open_items else ""
    print_message(f"{name}: {found.added} votes are new, {found.known} were there{left}")


@app.command()
def export(
    directory: RunFolder,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The new file.", show_default=False)],
    queue: QueueArgument = "",
    form: Annotated[
        OutForm,
        typer.Option("--as", metavar="FORM", help="labelled, preferences, label-studio, argilla, inspect or csv."),
    ] = OutForm.labelled,
) -> None:
    """Write labels into a new file: `labelled` calibrates a judge, `preferences` are pairs for rlhf.

    Every row names the labels that it comes from.
    """
    from charter.jobs.review_desk import find_queue
    from charter.jobs.review_files import export_labels

    found = export_labels(directory, find_queue(directory, queue), out, form.value)
    left = "; ".join(f"{reason}: {count}" for reason, count in found.left_out.items())
    print_message(f"{out}: {found.rows} rows{f'. Items: {left}' if left else ''}")


@app.command("import")
def import_(
    directory: RunFolder,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A queue.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Labels.", show_default=False)],
    form: Annotated[InForm, typer.Option("--from", metavar="FORM", help="label-studio, argilla, inspect or csv.")],
) -> None:
    """Take labels from another program's file into a queue: all of them, or none where one is wrong."""
    from charter.jobs.review_files import import_labels

    found = import_labels(directory, queue, file, form.value)
    print_message(f"{queue}: {found.added} labels are new, {found.known} were there")


def _hold_session(task: RatingTask) -> None:
    """Lets a person work at the terminal. Raises SpecError where there is none."""
    from charter.cli.keyboard import Keyboard
    from charter.cli.review_session import ReviewSession

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        cure = "Use --label ITEM=LABEL, or charter review import; `charter review items` prints what there is."
        raise SpecError("there is no terminal to review at", cure=cure)
    with suppress(KeyboardInterrupt), Keyboard(sys.stdin.fileno()) as keyboard:
        ReviewSession(task, keyboard).run()
    print_message("\nWhat you said is kept.")


def _split_pairs(said: Sequence[str]) -> list[tuple[str, str]]:
    """``ITEM=LABEL`` each. Exits with a usage error where one is none."""
    pairs = [text.partition("=") for text in said]
    for text, (item, equals, label) in zip(said, pairs, strict=True):
        if not (item and equals and label):
            raise typer.BadParameter(f"{text!r} is not ITEM=LABEL", param_hint="--label")
    return [(item, label) for item, _, label in pairs]


def _progress_row(one: QueueProgress) -> tuple[object, ...]:
    labels = ", ".join(f"{rater} {count}" for rater, count in one.labels.items())
    figures = (one.items, one.queue.raters, one.complete, len(one.to_adjudicate), one.settled)
    return (one.queue.id, one.queue.kind, *figures, labels or "nobody yet")


def _figure_words(figure: AgreementFigure) -> str:
    if figure.value is None:
        return "not defined"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _print_agreement(directory: Path, report: AgreementReport) -> None:
    found, progress = report.agreement, report.progress
    print_out(f"{progress.queue.id}: {found.n} items labelled by two or more of {found.raters} raters")
    print_out(f"agreement            {_figure_words(found.agreed)}")
    print_out(f"Gwet's AC1           {_figure_words(found.ac1)}")
    print_out(f"Krippendorff's alpha {_figure_words(found.alpha)}")
    if found.pairs:
        head = ("raters", "n", "agreed", "Cohen's kappa", "Gwet's AC1")
        rows = [
            (" and ".join(pair.raters), pair.n, _share(pair.agreed), _figure_words(pair.kappa), _figure_words(pair.ac1))
            for pair in found.pairs
        ]
        print_table([head, *rows], numbers=[1])
    if found.unsure or report.changed:
        print_out(f"Left out as unsure: {found.unsure}. Labels that their raters changed: {report.changed}.")
    for one in report.disputed:
        said = ", ".join(f"{label.rater} {label.label or 'unsure'}" for label in one.labels)
        print_out(f"to adjudicate {one.item}: {said}")
    if report.disputed:
        print_out(f"Settle them: charter review adjudicate {directory} {progress.queue.id} --by NAME")


def _share(share: Any) -> str:
    return f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})"
