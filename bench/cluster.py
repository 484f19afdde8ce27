"""``python -m bench.cluster --gpus 64 --model 8b --prompts 1e6``: what a run of iteralign would take on a cluster.

What is asked is what ``charter run --dry-run`` says, times the share of it that a run of the organism asked. How fast
it is answered comes from figures that others published. What charter itself takes was measured here. ``python -m
evidence cluster`` holds the same arithmetic against runs of the organism.

It is arithmetic and no promise: failures, and so revisions and rows, depend on the model."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.page import ROOT
from charter.jobs.alignment_forecast import forecast_iteralign
from charter.spec import Spec, change_spec, parse_spec, read_spec

SPEC, EVIDENCE = ROOT / "examples" / "cluster.yaml", ROOT / "docs" / "evidence" / "cluster.json"
GPUS = (1, 8, 64, 512)
SERVED_SHARE = 0.5
"""A server in bfloat16 against NVIDIA's best figures in FP8 without one: an assumption."""
CALL_TOKENS_OUT = 128
"""Tokens that a judge writes, in the figure below."""
TRAINING_TOKENS = 700
"""Tokens of a training row: a prompt and an answer of the scale. An assumption."""
PEAK_FLOPS, PEAK_SHARE, NODE_GPUS = 989e12, 0.3, 8
"""Of an H200 in bfloat16 without sparsity (NVIDIA's data sheet); the share of it that training reaches, an assumption;
and the GPUs of one node, which is where ``target.serve`` starts servers and ``tuner.launch`` trains."""
FLOPS_A_TOKEN = 6
"""For each parameter: forward, backward and forward again, as activations are recomputed; LoRA's weights are few."""
HTTP_SECONDS, WORKER_SECONDS = 0.006, 0.00016
"""What a call over HTTP, and one to a worker of a Ray cluster, takes of charter's one core (bench/RESULTS.md)."""
RECORD_SECONDS, PROMPT_BYTES, FAILURE_BYTES, BASE_MIB = 71e-6, 1_000, 6_000, 700
"""What a record takes (bench/RECORDS.md); what a prompt takes of memory, and a failure with its finding, revision and
row (docs/scale.md); the libraries (bench/RESULTS.md)."""
START_SECONDS = 180.0
"""Until a server has loaded its model, once for each policy. An assumption."""


@dataclass(frozen=True)
class ModelFigures:
    """One H200 with a model: tokens written a second (1,000 read, 1,000 written), calls a second of a judge (2,048
    read, 128 written), and parameters."""

    tokens: float
    judged: float
    parameters: float


MODELS = {
    "8b": ModelFigures(17_744 * SERVED_SHARE, 3_538 / CALL_TOKENS_OUT * SERVED_SHARE, 8e9),
    "70b": ModelFigures(2_909 * SERVED_SHARE, 3_538 / CALL_TOKENS_OUT * 2_909 / 17_744 * SERVED_SHARE, 70e9),
}
"""Llama 3.1 8B and Llama 3.3 70B in FP8 by TensorRT-LLM, offline (github.com/NVIDIA/TensorRT-LLM,
docs/source/performance/perf-overview.md). Of the 70B no figure for judges was found: they are scaled as answers are."""


@dataclass(frozen=True)
class Work:
    """What a run asks for: answers of the target, calls of the oracle, rows that are trained on (each time that they
    are), records that are kept, and prompts that are read."""

    answers: float
    calls: float
    rows: float
    records: float
    prompts: float


@dataclass(frozen=True)
class UnitSeconds:
    """Seconds of each thing, and those that a run takes whatever its size."""

    answer: float
    call: float
    row: float
    record: float
    fixed: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """Seconds by who spends them; ``memory``: the peak of charter's own process, MiB."""

    answering: float
    judging: float
    training: float
    own: float
    memory: float

    @property
    def seconds(self) -> float:
        """One after the other: a step begins when the one before is sealed."""
        return self.answering + self.judging + self.training + self.own


def count_work(spec: Spec, plan: Mapping[str, Any]) -> Work:
    """What a plan (of ``--dry-run``) comes to. All rows so far are trained on in each iteration: revisions, as much
    replay, and fresh ones. Their share may be above one, since replay repeats rows."""
    options, times = spec.options, plan["iterations_at_most"]
    rows = 2 * min(options.draw.batch, plan["prompts"]["redteam"]) + options.replay.fresh
    answers, calls = plan["answers_to_generate_at_most"], plan["oracle_calls_at_most"]
    measured = 2 * plan["prompts"]["heldout"] + (times + 1) * plan["prompts"]["gate"]
    trained, prompts = rows * times * (times + 1) / 2, sum(plan["prompts"].values())
    return Work(answers, calls, trained, prompts + answers + calls + measured + rows * times, prompts)


def use_shares(most: Work, shares: Mapping[str, float]) -> Work:
    """What is asked, where each thing is asked in a share of the times that it may be."""
    return Work(**{name: value * shares.get(name, 1.0) for name, value in asdict(most).items()})


def predict(work: Work, seconds: UnitSeconds, memory: float) -> Prediction:
    """Seconds of a run; ``memory`` is carried along."""
    return Prediction(
        answering=work.answers * seconds.answer,
        judging=work.calls * seconds.call,
        training=work.rows * seconds.row,
        own=work.records * seconds.record + seconds.fixed,
        memory=memory,
    )


def time_cluster(gpus: int, model: ModelFigures, spec: Spec, policies: int) -> UnitSeconds:
    """Unit seconds on so many GPUs, all of which serve target and oracle in turn. What charter's core can put and take
    bounds them: over HTTP on one node, and beyond it on a Ray cluster. ``policies``: times that servers start."""
    put = HTTP_SECONDS if gpus <= NODE_GPUS else WORKER_SECONDS
    trained = FLOPS_A_TOKEN * model.parameters * TRAINING_TOKENS * spec.options.tune.epochs
    return UnitSeconds(
        answer=max(spec.scale.answer_tokens / (model.tokens * gpus), put),
        call=max(1 / (model.judged * gpus), put),
        row=trained / (PEAK_FLOPS * PEAK_SHARE * min(gpus, NODE_GPUS)),
        record=RECORD_SECONDS,
        fixed=START_SECONDS * policies,
    )


def plan_run(prompts: int) -> tuple[Spec, dict[str, Any]]:
    """The example's spec with so many red-team prompts, all of them drawn, and what it would ask for at most. Proposals
    are not verified and efficacy is not measured, as in the runs that gave the shares: what these take hangs on the
    number of clusters, which nobody can foresee."""
    text = read_spec(SPEC)[1]
    times = parse_spec(text).options.stop.iterations
    changes = {"options.draw.batch": str(-(-prompts // times)), "options.draw.later": str(-(-prompts // times))}
    changes |= {"options.propose.verify": "false", "options.measure.efficacy": "false", "scale": "8b"}
    spec = parse_spec(change_spec(text, changes))
    gate, heldout = spec.prompts.gate, spec.prompts.heldout
    assert gate is not None
    assert heldout is not None
    helpful = spec.options.replay.fresh  # as many as are replayed
    sizes = {"redteam": prompts, "helpful": helpful, "gate": 2 * gate, "heldout": 2 * heldout}
    return spec, forecast_iteralign(spec, spec.options.judge.rubric, sizes)


def simulate(gpus: int, model: str, prompts: int, shares: Mapping[str, float]) -> Prediction:
    """A run of iteralign over ``prompts`` red-team prompts, on GPUs of one kind."""
    spec, plan = plan_run(prompts)
    work = use_shares(count_work(spec, plan), shares)
    memory = BASE_MIB + (PROMPT_BYTES * work.prompts + FAILURE_BYTES * shares["failing"] * prompts) / 2**20
    policies = 1 + plan["iterations_at_most"]
    return predict(work, time_cluster(gpus, MODELS[model], spec, policies), memory)


def read_shares() -> dict[str, float]:
    """What the organism's run asked of what it might have asked. Raises FileNotFoundError where it was not measured."""
    shares: dict[str, float] = json.loads(EVIDENCE.read_text(encoding="utf-8"))["shares"]
    return shares


def tabulate(model: str, prompts: int, price: float, shares: Mapping[str, float], sizes: Sequence[int] = GPUS) -> str:
    """A table of a run on several sizes of cluster."""
    head = (
        "GPUs",
        "hours",
        "answering",
        "judging",
        "training",
        "own and starts",
        "GPU-hours",
        "USD",
        "own memory, GiB",
    )
    lines = ["| " + " | ".join(head) + " |", "| ---: " * len(head) + "|"]
    for gpus in sizes:
        found = simulate(gpus, model, prompts, shares)
        hours = [part / 3600 for part in (found.answering, found.judging, found.training, found.own)]
        whole = found.seconds / 3600
        cells = [str(gpus), f"{whole:,.1f}", *(f"{part:,.1f}" for part in hours), f"{whole * gpus:,.0f}"]
        lines.append("| " + " | ".join([*cells, f"{whole * gpus * price:,.0f}", f"{found.memory / 1024:.1f}"]) + " |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Prints the table of one size."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--gpus", type=int, nargs="+", default=list(GPUS))
    parser.add_argument("--model", choices=MODELS, default="8b")
    parser.add_argument("--prompts", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--price", type=float, default=3.0, help="USD for an hour of a GPU")
    asked = parser.parse_args(words)
    print(tabulate(asked.model, asked.prompts, asked.price, read_shares(), asked.gpus))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
