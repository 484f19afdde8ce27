"""``charter organism``: build, check and serve test worlds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from charter.cli.terminal import print_message, print_table, watch_progress
from charter.errors import OrganismError

app = typer.Typer(
    no_args_is_help=True, help="Model organisms: tiny models with planted flaws, and the oracle of their world."
)

WorldName = Annotated[str, typer.Option(metavar="NAME", help="A shipped world (village, city) or a world file.")]


@app.command()
def build(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the model into.", show_default=False)],
    world: WorldName = "village",
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed gives another organism of the same world.")] = 0,
    asks: Annotated[
        int, typer.Option(metavar="N", help="Exercises a step in which it learns to write prompts.", min=0)
    ] = 0,
) -> None:
    """Train an organism from scratch and check it; one that misses a behaviour is not written."""
    from charter.organism.organism_builder import build_organism as train
    from charter.organism.organism_trainer import Schedule
    from charter.organism.world import World

    began = time.monotonic()
    with watch_progress() as observer:
        made = World.load(world)
        train(made, seed, out, observer, Schedule(steps=made.file.steps, asks=asks))
    print_message(
        f"{out} is built in {time.monotonic() - began:.0f} s. Use it: charter run SPEC --set target.model={out}"
    )


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A built organism.", show_default=False)],
    world: WorldName = "village",
) -> None:
    """Measure every behaviour that an organism must have. Exits with 7 where one is missed."""
    from charter.organism.behaviour_checks import BEHAVIOUR_BOUNDS, list_missed_behaviours
    from charter.organism.organism_builder import check_organism as measured
    from charter.organism.world import World

    figures = measured(World.load(world), folder)
    rows = [
        (name, f"{figures[name]:.1%}", f"{least:.1%}", "" if figures[name] >= least else "missed")
        for name, least in BEHAVIOUR_BOUNDS.items()
        if name in figures
    ]
    print_table([("behaviour", "share", "at least", ""), *rows], numbers=(1, 2))
    if lines := list_missed_behaviours(figures):
        raise OrganismError(
            "\n".join([f"{folder} misses {len(lines)} of {len(BEHAVIOUR_BOUNDS)} behaviours", *lines]),
            "Build it from another seed.",
        )


@app.command()
def serve(
    port: Annotated[int, typer.Option(metavar="N", help="0 takes any free port.")] = 0,
    world: WorldName = "village",
    wrong_verdicts: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of wrong verdicts.", min=0, max=1)
    ] = 0.0,
    off_target: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of proposals about something else.", min=0, max=1)
    ] = 0.0,
    delay: Annotated[float, typer.Option(metavar="S", help="Seconds that each reply takes.", min=0)] = 0.0,
) -> None:
    """Serve a world's oracle on 127.0.0.1 as an OpenAI-compatible chat server. Prints its base URL."""
    from charter.organism.oracle import OracleErrors
    from charter.organism.oracle_server import serve_oracle as listen
    from charter.organism.world import World

    errors = OracleErrors(wrong_verdicts=wrong_verdicts, off_target=off_target, delay=delay)
    listen(World.load(world), port, errors, announce=_print_url)


@app.command()
def faults(
    upstream: Annotated[
        str, typer.Argument(metavar="URL", help="The base URL of an OpenAI-compatible server.", show_default=False)
    ],
    transport: Annotated[
        float, typer.Option(metavar="SHARE", help="Calls that fail: 429, 500, timeout, reset, torn body.", min=0, max=1)
    ] = 0.2,
    content: Annotated[
        float, typer.Option(metavar="SHARE", help="Answers that refuse, leave the menu or are no JSON.", min=0, max=1)
    ] = 0.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed spoils other calls.")] = 0,
    hang: Annotated[float, typer.Option(metavar="S", help="Seconds until a call without answer is dropped.")] = 5.0,
    port: Annotated[int, typer.Option(metavar="N", help="0 takes any free port.")] = 0,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A line of JSON for each call, without its text.")
    ] = None,
) -> None:
    """Stand between charter and a server, and make calls go wrong on purpose. Prints its base URL."""
    import signal
    import threading

    from charter.organism.fault_proxy import FaultRates, run_fault_proxy

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with run_fault_proxy(upstream, FaultRates(transport, content, seed, hang), port, log) as (url, traffic):
        _print_url(url)
        ended.wait()
    for what, count in traffic.calls.most_common():
        print_message(f"{what}: {count}")


def _print_url(url: str) -> None:
    print(url, flush=True)
