"""What a spec asks of this machine and of a purse, before anything is spent: memory, speed, time and money."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from charter import spec as specs
from charter.errors import CharterError, EngineError
from charter.jobs.alignment_forecast import max_candidates
from charter.jobs.alignment_job import AlignmentJob
from charter.judging.judge_requests import MAX_REPLY_TOKENS
from charter.judging.probe_exchanges import load_probe_exchanges
from charter.models import memory_forecast, weights
from charter.models.engines.memory import default_batch_tokens
from charter.models.memory_forecast import BatchShape
from charter.records.chat import CallProgress, Request, ScoreRequest
from charter.records.record import Step
from charter.records.templates import user_turn
from charter.reports.progress import rate_in_words
from charter.spec.spec_parser import TUNING_METHODS
from charter.stages.judge import judge
from charter.wiring import role_models
from charter.wiring.components import CHARS_PER_TOKEN, Components
from charter.wiring.reading_calls import plan_reading

if TYPE_CHECKING:
    from charter.models.engines.local_engine import LocalEngine
    from charter.spec import OracleSpec

MEASURED_SECONDS = 20.0
"""The most seconds for which the target is asked, its loading left out."""
TRIED_PROMPTS, READING_PART = 32, 4
"""The most prompts that are answered; and which part of the time they may be read in: one in four."""
TRAINING, ORACLES, VERDICTS = "memory to train", "memory of oracles", "time of oracles"


class OutlookLine(NamedTuple):
    """What was looked at, what was found, and what to do (empty: fine)."""

    what: str
    found: str
    mend: str = ""


class Speed(NamedTuple):
    """Tokens drawn, or calls made, in so many seconds."""

    amount: int
    seconds: float


def look_ahead(text: str, seconds: float = MEASURED_SECONDS) -> list[OutlookLine]:
    """What a run of a spec would take at most. Where their weights run in this process, the target answers a few of the
    spec's prompts, and the judge judges a few shipped exchanges; others are not asked. Of a chain its first step.

    Args:
        text: The spec.
        seconds: The most for which each of them is asked, its loading left out. One verdict may take longer.

    Raises:
        SpecError: The spec is not valid, or a file of it cannot be read.
        EngineError: The target is not there.
    """
    chained = specs.split_chain(text)
    spec = specs.parse_spec(chained[0][1] if chained else text)
    if spec.method not in (*TUNING_METHODS, "red_team", "think"):
        return [OutlookLine("method", f"{spec.method} trains nothing; charter run SPEC --dry-run says what it asks")]
    job = AlignmentJob(spec)
    components, plan = job.components, job.forecast()
    lines = [OutlookLine("steps", f"{len(chained)}; what follows is about the first")] if chained else []
    lines.append(OutlookLine("scale", components.scale or "the spec's own"))
    answers = int(plan["answers_to_generate_at_most"])
    tokens = answers * components.spec.scale.answer_tokens
    lines.append(OutlookLine("answers", f"at most {answers:,}, of {tokens:,} tokens at most"))
    if components.spec.target.by_http or components.spec.target.serve:
        lines.append(OutlookLine("memory and speed", "not looked at: the target answers on a server"))
    else:
        lines += _look_at_target(components, tokens, seconds)
    if not any(line.mend for line in lines if line.what != TRAINING):
        lines += _look_at_verdicts(components, int(plan.get("oracle_calls_at_most", 0)), seconds)
    return [*lines, *_look_at_costs(components, plan)]


def _look_at_target(components: Components, tokens: int, seconds: float) -> list[OutlookLine]:
    """Memory, and where it is enough, speed and time."""
    lines = _look_at_memory(components)
    if any(line.mend for line in lines if line.what not in (TRAINING, ORACLES)):
        return [*lines, OutlookLine("speed", "not measured, since the target does not fit")]
    try:
        speed = measure_speed(components, seconds)
    except CharterError as error:
        return [*lines, OutlookLine("speed", f"not measured: {error.message}", error.cure or "Mend the target.")]
    if not speed.amount:
        return [*lines, OutlookLine("speed", f"no token in {speed.seconds:.0f} s", "Take a smaller target.")]
    rate = speed.amount / speed.seconds
    told = f"tokens {rate_in_words(speed.amount, speed.seconds)} ({speed.amount:,} in {speed.seconds:.1f} s)"
    lines.append(OutlookLine("speed", told))
    hours = tokens / rate / 3600
    most, mend = components.spec.budget.hours, ""
    if most is not None and hours > most:
        mend = f"budget.hours is {most:g}, at which the run pauses; raise it, or draw fewer prompts"
    told = f"answering takes at most {_hours_text(hours)}; training and the time of oracles come on top"
    return [*lines, OutlookLine("time", told, mend)]


def _look_at_memory(components: Components) -> list[OutlookLine]:
    """Whether answering and training fit, one after the other."""
    spec, start = components.spec, components.start
    where = weights.model_folder(start, offline=spec.offline, remote_code=spec.target.remote_code)
    parameters = weights.count_parameters(where)
    if parameters is None:
        return [OutlookLine("memory", "not looked at: the weights cannot be counted")]
    config = weights.load_config(where, remote_code=spec.target.remote_code)
    device = weights.pick_device(spec.target.device)
    dtype = weights.pick_dtype(spec.target.dtype, device, config)
    free, scale, tune = memory_forecast.read_free_memory(device), spec.scale, spec.options.tune
    lines = [OutlookLine("target", f"{parameters / 1e6:,.1f} M parameters in {dtype} on {device}")]
    width = spec.target.batch_tokens or default_batch_tokens(device)
    row = _longest_row(components)
    answering = BatchShape(max(1, min(spec.target.batch, width // row)), row)
    needed = memory_forecast.estimate_answering(config, parameters, dtype, answering, scale.answer_tokens)
    cure = "Set target.dtype: bfloat16, a smaller target.batch_tokens, or a server: target.serve"
    weighed = parameters * memory_forecast.BYTES.get(dtype, 4)
    if free is not None and weighed > free:
        told = f"{_gib_text(weighed)} for the weights; {_gib_text(free)} are free"
        return [*lines, OutlookLine("memory", told, f"The weights alone do not fit. {cure}")]
    lines.append(_compare_memory("memory to answer", needed, free, answering, cure))
    lines += _look_at_oracles(components, row, None if free is None else free - needed)
    if spec.method in TUNING_METHODS and spec.tuner.is_in_process:
        training = BatchShape(tune.batch, row)
        needed = memory_forecast.estimate_training(config, parameters, dtype, training, tune.kind == "full")
        cure = "Set a smaller options.tune.batch or scale.row_tokens, options.tune.kind: lora, or tuner.launch"
        lines.append(_compare_memory(TRAINING, needed, free, training, cure))
    return lines


def _look_at_oracles(components: Components, row: int, free: int | None) -> list[OutlookLine]:
    """Whether models that answer for other roles in this process fit beside the target, in the bytes that it leaves
    free. Weights that several roles share count once, and nothing is fetched."""
    weighed = {
        asked.weights_digest: (asked.model, _weigh_oracle(components, asked, row))
        for asked in components.roles.values()
        if asked.has_weights and not asked.serve
    }
    if not weighed:
        return []
    unknown = [name for name, needed in weighed.values() if needed is None]
    if unknown:
        return [OutlookLine(ORACLES, f"not looked at: the weights of {', '.join(unknown)} cannot be counted here")]
    needed = sum(each or 0 for _, each in weighed.values())
    told = f"at most about {_gib_text(needed)} beside the target's: {', '.join(name for name, _ in weighed.values())}"
    fits = free is None or needed <= free
    cure = "They do not fit beside the target. Give them dtype: bfloat16, a smaller batch, or a server: base_url"
    return [OutlookLine(ORACLES, f"{told}; they leave memory before a training", "" if fits else cure)]


def _weigh_oracle(components: Components, asked: OracleSpec, row: int) -> int | None:
    """Bytes of a role's weights and of a batch of the judge's words with such a row; None where nothing tells."""
    try:
        model = weights.resolve_model(asked.model, asked.revision, offline=True, remote_code=asked.remote_code)
        where = weights.model_folder(model, offline=True, remote_code=asked.remote_code)
        parameters = weights.count_parameters(where)
        config = weights.load_config(where, remote_code=asked.remote_code)
    except EngineError:
        return None
    if parameters is None:
        return None
    device = weights.pick_device(asked.device)
    tokens = row + len(components.templates.judge) // CHARS_PER_TOKEN
    rows = max(1, min(asked.batch, (asked.batch_tokens or default_batch_tokens(device)) // tokens))
    dtype = weights.pick_dtype(asked.dtype, device, config)
    return memory_forecast.estimate_answering(config, parameters, dtype, BatchShape(rows, tokens), MAX_REPLY_TOKENS)


def _longest_row(components: Components) -> int:
    """Tokens of the longest prompt with a full answer; no row is longer than the spec lets it be. Rows of files are not
    looked at, so with these it is what the spec lets them be."""
    scale, train = components.spec.scale, components.train
    if components.rows:
        return scale.row_tokens
    longest = max((len(prompt.text) for prompts in train.values() for prompt in prompts), default=0)
    return min(scale.row_tokens, longest // CHARS_PER_TOKEN + scale.answer_tokens)


def _compare_memory(what: str, needed: int, free: int | None, shape: BatchShape, cure: str) -> OutlookLine:
    told = f"at most about {_gib_text(needed)} (batches of {shape.rows} x {shape.tokens} tokens)"
    if free is None:
        return OutlookLine(what, f"{told}; how much is free is not known")
    fits = needed <= free
    return OutlookLine(
        what, f"{told}; {_gib_text(free)} are free", "" if fits else f"Batches of this length do not fit. {cure}"
    )


def measure_speed(components: Components, seconds: float = MEASURED_SECONDS) -> Speed:
    """How fast the target answers prompts of the spec in this process, in batches as a run has them. Raises
    EngineError."""
    spec = components.spec
    prompts = [*components.train["redteam"], *components.train["helpful"]][: min(TRIED_PROMPTS, spec.target.batch)]
    sampling = role_models.answer_sampling(spec)
    asked = [Request(id=p.id, messages=p.messages, sampling=sampling, seed=1) for p in prompts]
    first = asked[0].model_copy(update={"sampling": sampling.model_copy(update={"max_tokens": 1})})
    with closing(role_models.build_local_engine(spec, components.start)) as engine:
        list(engine.generate([first]))  # loads the weights
        began = time.monotonic()
        list(engine.generate([first]))
        fit = int(seconds / READING_PART / max(time.monotonic() - began, 1e-6))
        return _time_answers(engine, asked[: max(1, fit)], seconds)


def _time_answers(engine: LocalEngine, asked: list[Request], seconds: float) -> Speed:
    began, drawn = time.monotonic(), 0

    def watch(progress: CallProgress) -> None:
        nonlocal drawn
        drawn = progress.tokens
        if time.monotonic() - began > seconds:
            raise _TimeUp

    engine.report_progress(watch)
    try:
        for _ in engine.generate(asked):
            pass
    except _TimeUp:
        pass  # enough was seen
    return Speed(drawn, time.monotonic() - began)


class _TimeUp(Exception):
    """Ends a call that was made to be timed."""


def _look_at_verdicts(components: Components, calls: int, seconds: float) -> list[OutlookLine]:
    """How long a judge in this process takes; nothing where it answers elsewhere, or a classifier judges."""
    asked = components.roles["judge"]
    if not asked.has_weights or asked.serve or asked.classifiers:
        return []
    try:
        speed = measure_verdicts(components, seconds)
    except CharterError as error:
        return [OutlookLine(VERDICTS, f"not measured: {error.message}", error.cure or "Mend the oracle.")]
    each = speed.seconds / speed.amount
    measured = f"a call for a verdict takes {each:.2g} s ({speed.amount} in {speed.seconds:.1f} s)"
    total = f"{calls:,} calls take at most about {_hours_text(each * calls / 3600)}"
    return [OutlookLine(VERDICTS, f"{measured}; {total}, and those that write a rule take longer than a verdict")]


def measure_verdicts(components: Components, seconds: float = MEASURED_SECONDS) -> Speed:
    """How fast the judge judges shipped exchanges in this process: calls, of which a verdict may take several. Raises
    EngineError."""
    judging, rubric, asked = components.spec.options.judge, components.rubric_of("judge"), components.roles["judge"]
    exchanges = [known.exchange for known in load_probe_exchanges(rubric.name)]
    calls = plan_reading(asked, judging, rubric.name, judging.votes)
    with closing(components.connect_oracle("judge")) as engine:

        def measure(count: int) -> Speed:
            began, step = time.monotonic(), Step("outlook", components.spec.seed)
            for _ in judge(exchanges[:count], engine, rubric, components.templates, judging, step=step):
                pass
            return Speed(calls.count(count), time.monotonic() - began)

        list(engine.score([ScoreRequest(id="first", messages=user_turn("N/A"), completion="N/A")]))  # loads the weights
        alone = measure(1)
        fit = min(asked.batch, int(seconds / max(alone.seconds, 1e-6)))
        return measure(fit) if fit > 1 else alone


def _look_at_costs(components: Components, plan: Mapping[str, Any]) -> list[OutlookLine]:
    """Calls and money of each role at most, as far as prices are known."""
    spec, lines = components.spec, list[OutlookLine]()
    calls = {"judge and proposer": int(plan.get("oracle_calls_at_most", 0))}
    sizes = plan.get("prompts", {})
    if spec.evaluator != "world":
        calls["evaluator"] = 2 * sizes.get("heldout", 0) + (1 + max_candidates(spec)) * sizes.get("gate", 0)
    for role, count in calls.items():
        prices = [components.prices.get(name) for name in role.split(" and ")]
        dear = max((price for price in prices if price), default=None)
        money = "price not known: give price_in and price_out" if None in prices or dear is None else ""
        if dear is not None and not money:
            money = _cost_text(components, count, dear)
        lines.append(OutlookLine(role, f"at most {count:,} calls; {money}"))
    most = spec.budget.calls
    if most is not None and sum(calls.values()) > most:
        lines.append(OutlookLine("budget", f"{most:,} calls, at which the run pauses; charter resume goes on"))
    elif most is None and spec.budget.money is None and any(not line.found.endswith("free") for line in lines):
        lines.append(OutlookLine("budget", "no limit of calls or money: budget.calls, budget.money"))
    return lines


def _cost_text(components: Components, calls: int, price: tuple[float, float]) -> str:
    """Money for calls as long as the judge's words with a prompt and an answer, each replied to in full."""
    if not any(price):
        return "free"
    shown = len(components.templates.judge) // CHARS_PER_TOKEN + 2 * components.spec.scale.answer_tokens
    return (
        f"at most about {calls * (shown * price[0] + MAX_REPLY_TOKENS * price[1]) / 1e6:,.2f}, in the prices' currency"
    )


def _gib_text(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:,.0f} MiB"


def _hours_text(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 2 else f"{hours * 60:,.0f} min" if hours > 1 / 30 else f"{hours * 3600:,.0f} s"
