"""``charter studio``: the local web page of runs and rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charter.cli.terminal import print_out


def studio(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of runs, or one run's folder.")] = Path(
        "runs"
    ),
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            metavar="ROLE[:NAME]",
            help="A way in: viewer, reviewer, approver or admin, and the name that decisions carry. Repeatable; "
            "one for admin where none is given.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(metavar="N", help="The port; 0 takes any free one.")] = 8765,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
    name: Annotated[str, typer.Option(metavar="HOST", help="Another name under which it is reached.")] = "",
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TLS certificate, PEM.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.", show_default=False)] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines reach it without TLS.", show_default=False)
    ] = False,
) -> None:
    """Open a local web page to read runs and to decide about rules. It prints the address for each role."""
    from charter.studio.serving import ListeningPlace, serve_studio
    from charter.studio.sessions import StudioAccess

    def announce(access: StudioAccess, url: str) -> None:
        print_out(f"{access.role} {access.person}: {url}")

    place = ListeningPlace(host, port, certificate, key, name, insecure)
    serve_studio(directory, roles or [], place, announce)
