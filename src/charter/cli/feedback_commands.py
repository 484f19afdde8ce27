"""``charter feedback``: what users said of answers comes in, is counted, and goes out as files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.terminal import AsJson, print_json, print_message, print_out, print_table

app = typer.Typer(
    no_args_is_help=True,
    help="Take in what users said of answers, masked and with their consent, for a fork that learns from it.",
)

StorePlace = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="PLACE",
        envvar="CHARTER_FEEDBACK_STORE",
        show_envvar=False,
        help="The file of an SQLite database, or postgresql://USER@HOST/NAME; CHARTER_FEEDBACK_STORE where none is "
        "given.",
        show_default=False,
    ),
]
KeyFile = typer.Option("--api-keys", metavar="FILE", help="The file of keys.", show_default=False)


class FeedbackOutForm(StrEnum):
    """What feedback is written as."""

    rows = "rows"
    attempts = "attempts"
    preferences = "preferences"
    ratings = "ratings"


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, CSV or another table.", show_default=False)],
    store: StorePlace = "",
    sender: Annotated[
        str, typer.Option(metavar="NAME", help="Whose row ids these are; the same file can be given again.")
    ] = "import",
) -> None:
    """Take a file's rows into a store: all of them, or none where one is wrong. Personal data are masked."""
    from charter.jobs.feedback_intake import FeedbackIntake, import_feedback, open_feedback_store

    with open_feedback_store(store, create=True) as rows:
        found = import_feedback(FeedbackIntake(rows), file, sender)
    print_message(f"{found.added} rows added, {found.known} known{_more(found.erased, 'erased before and not taken')}")
    masked = ", ".join(f"{count} {kind}" for kind, count in sorted(found.masked.items()))
    print_message(f"masked: {masked or 'nothing was recognised'}")
    if found.without_consent:
        print_message(f"{found.without_consent} of the new rows have no consent: nothing is made of them")


@app.command("list")
def list_(
    store: StorePlace = "",
    most: Annotated[int, typer.Option("--n", metavar="N", min=1, help="The last so many rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the last rows of a store, without their texts."""
    from collections import deque

    from charter.jobs.feedback_intake import open_feedback_store

    with open_feedback_store(store) as rows:
        last = deque(rows.read_rows(), most)
    if as_json:
        hidden = {"prompt", "answer", "other_answer", "correction", "comment"}
        print_json([row.model_dump(mode="json", exclude={"said": hidden}) for row in last])
        return
    head = ("row", "from", "kind", "consent", "model", "language", "received")
    shown = [
        (row.id, row.sender, said.kind, said.consent, said.model[:20], said.language, row.received[:19])
        if (said := row.said)
        else (row.id, "", "erased", "", "", "", row.received[:19])
        for row in last
    ]
    print_table([head, *shown])


@app.command()
def count(store: StorePlace = "", as_json: AsJson = False) -> None:
    """Count the rows of a store by kind and consent."""
    from charter.jobs.feedback_intake import open_feedback_store

    with open_feedback_store(store) as rows:
        counts = rows.count_rows()
    if as_json:
        print_json([one.model_dump(mode="json") for one in counts])
        return
    table = [(one.kind, one.consent, one.rows - one.erased, one.erased) for one in counts]
    print_table([("kind", "consent", "rows", "erased"), *table], numbers=(2, 3))
    print_out(f"{sum(row[2] for row in table if row[1] != 'none')} rows may be used.")


@app.command()
def export(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The new file.", show_default=False)],
    store: StorePlace = "",
    form: Annotated[
        FeedbackOutForm,
        typer.Option(
            "--as",
            metavar="FORM",
            help="rows, attempts (prompts for red teaming), preferences (pairs) or ratings (good and bad answers).",
        ),
    ] = FeedbackOutForm.rows,
    published: Annotated[
        bool, typer.Option("--published", help="Only rows that their users let be published.", show_default=False)
    ] = False,
) -> None:
    """Write what may be used into a new file. Every row names the feedback that it comes from."""
    from charter.jobs.feedback_intake import export_feedback, open_feedback_store

    with open_feedback_store(store) as rows:
        found = export_feedback(rows, out, form.value, published)
    left = f"{_more(found.without_consent, 'left out for want of consent')}{_more(found.erased, 'erased')}"
    print_message(f"{out}: {found.written} rows{left}")


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who sends: a-z, 0-9, - and _.", show_default=False)],
    keys: Annotated[Path, KeyFile],
) -> None:
    """Make a key for a program that sends feedback, and print it once. The file keeps its digest alone."""
    from charter.studio.feedback_keys import add_key

    print_out(add_key(keys, name), data=True)


@app.command()
def serve(
    store: StorePlace = "",
    keys: Annotated[Path | None, KeyFile] = None,
    rate: Annotated[int, typer.Option(metavar="N", min=1, help="Rows that one key may send in a minute.")] = 600,
    port: Annotated[int, typer.Option(metavar="N", help="The port; 0 takes any free one.")] = 8766,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(metavar="HOST", help="Another name under which it is reached.")] = "",
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TLS certificate, PEM.", show_default=False)
    ] = None,
    private_key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="Its key, PEM.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines reach it without TLS.", show_default=False)
    ] = False,
) -> None:
    """Answer POST /api/feedback: one row a call, acknowledged once it is on the disk. It prints the address."""
    from charter.studio.feedback_service import serve_feedback
    from charter.studio.serving import ListeningPlace

    place = ListeningPlace(host, port, certificate, private_key, name, insecure)
    serve_feedback(place, store, keys, rate, lambda url: print_out(f"feedback: {url}"))


def _more(count: int, what: str) -> str:
    return f", {count} {what}" if count else ""
