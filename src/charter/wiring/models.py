"""From a spec to live models: the target, its tuner, and the oracles."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import EngineError, SpecError
from charter.judging.rubrics import Rubric
from charter.nouns import ModelRef, Sampling, digest
from charter.ports import Engine, Tuner
from charter.spec import PROGRAM, Budget, Judging, OracleSpec, Spec
from charter.templates import Templates

Price = tuple[float, float]
FREE: Price = (0.0, 0.0)

if TYPE_CHECKING:
    from charter.engines.local import LocalEngine
    from charter.engines.served import ServedEngine
    from charter.organism.world import World


def world(spec: Spec) -> World | None:
    """The test world that the spec names; None where it names none. Raises SpecError."""
    if not spec.world:
        return None
    from charter.organism.world import World

    return World.load(spec.world)


def start(spec: Spec, world: World | None, revision: str = "") -> ModelRef:
    """The starting model, resolved to a commit and weight digest; ``revision`` goes before the spec's. One that
    is only reached by HTTP has its name alone. Raises EngineError."""
    from charter.weights import resolve

    target = spec.target
    if target.by_http:
        return ModelRef(base=target.model, base_digest="", digest=digest({"by_http": target.model}))
    base = target.model
    if base == "organism":
        assert world is not None
        folder = Path(__file__).parent.parent / "organism" / "built" / world.name
        if not (folder / "config.json").is_file():
            raise EngineError(
                f"the world {world.name} is not shipped built",
                f"charter organism build --world {spec.world} --out DIR, then set target.model to DIR",
            )
        base = str(folder)
    return resolve(base, revision or target.revision, offline=spec.offline, remote_code=target.remote_code)


def context(spec: Spec, start: ModelRef) -> int | None:
    """Tokens that the target reads; None where its configuration does not tell. Loads no weights."""
    from charter import weights

    where = weights.folder(start, offline=spec.offline, remote_code=spec.target.remote_code)
    return weights.context_of(weights.load_config(where, remote_code=spec.target.remote_code))


def local(spec: Spec, start: ModelRef) -> LocalEngine:
    """The target in process; it loads when it is first asked."""
    from charter.engines.local import LocalEngine, LocalOptions

    target = spec.target
    options = LocalOptions.model_validate(
        {
            "device": target.device,
            "dtype": target.dtype,
            "batch_size": target.batch,
            "plain": target.plain,
            "template": target.template,
            "context": target.context,
            "remote_code": target.remote_code,
            "offline": spec.offline,
        }
    )
    return LocalEngine(start, options)


def describe(spec: Spec, start: ModelRef) -> dict[str, Any]:
    """What the target is, where and how it answers. Loads no weights. Raises EngineError."""
    target = spec.target
    known = {} if target.by_http else local(spec, start).describe()
    if not target.by_http and not target.serve:
        return known
    unknown = {"revision": "", "digest": "", "architecture": "identity not verifiable", "context": 0}
    own = {"device": "a server", "dtype": "its precision", "format": "its chat format", "batch": target.connections}
    return {"model": target.model, **unknown, **known, **own}


def by_http(spec: Spec) -> Engine:
    """The target that is only reached by HTTP."""
    from charter.engines.remote import RemoteEngine, RemoteOptions

    target = spec.target
    options = RemoteOptions(base_url=target.base_url or None, max_connections=target.connections, offline=spec.offline)
    return RemoteEngine(target.model, options)


def served(spec: Spec, policy: ModelRef, folder: Path) -> ServedEngine:
    """A policy behind a server of its own; the server's log and lock lie in ``folder``."""
    from charter.engines.remote import RemoteEngine, RemoteOptions
    from charter.engines.served import ServedEngine, Serving

    target = spec.target

    def connect(url: str, name: str) -> Engine:
        options = RemoteOptions(base_url=url, max_connections=target.connections, give_up_after=60)
        return RemoteEngine(name, options)

    serving = Serving(
        command=target.serve,
        start_command=target.serve_start,
        ready_s=target.serve_ready_s,
        offline=spec.offline,
        remote_code=target.remote_code,
    )
    return ServedEngine(policy, serving, folder, connect)


def tuned(spec: Spec) -> dict[str, Any]:
    """What every training is told."""
    tune, scale, target = spec.options.tune, spec.scale, spec.target
    return tune.model_dump(exclude={"start", "learning_rate", "rank"}) | {
        "lr": tune.learning_rate,
        "r": tune.rank,
        "max_length": min(scale.row_tokens, target.context or scale.row_tokens),
        "device": target.device,
        "dtype": target.dtype,
        "plain": target.plain,
        "template": target.template,
        "remote_code": target.remote_code,
        "offline": spec.offline,
        "quantize": spec.tuner.quantize,
        "save_steps": spec.tuner.save_steps if spec.tuner.launch else 0,
    }


def tuner(spec: Spec, folder: Path) -> Tuner:
    """The tuner that the spec asks for; one that is launched has its job and checkpoints in ``folder``."""
    from charter.tuners.launched import LaunchedTuner
    from charter.tuners.sft import SftOptions, SftTuner

    options = SftOptions.model_validate(tuned(spec))
    if not spec.tuner.launch:
        return SftTuner(options)
    return LaunchedTuner(options, spec.tuner.launch, folder, spec.tuner.micro_batch)


def answers(spec: Spec, longest: int | None = None) -> Sampling:
    """How the target answers, in at most ``longest`` tokens (None: ``scale.answer_tokens``)."""
    scale = spec.scale
    return Sampling(
        temperature=scale.temperature,
        top_p=scale.top_p,
        max_tokens=longest or scale.answer_tokens,
        stop=scale.stop,
        frequency_penalty=scale.frequency_penalty,
    )


def templates(spec: Spec, world: World | None) -> Templates:
    """What is said to models: the spec's words, or the world's."""
    if spec.templates != "world":
        return spec.templates
    assert world is not None
    return Templates.model_validate(world.target_templates)


def rubric(judging: Judging) -> Rubric:
    """The rubric that findings are made by: shipped, with a policy, or from a file. Raises SpecError."""
    from charter.judging.rubrics import SHIPPED, parse

    if judging.rubric in SHIPPED:
        found = SHIPPED[judging.rubric]
        if not judging.policy:
            return found
        if not (policy := _text(judging.policy, "options.judge.policy")).strip():
            raise SpecError(f"{judging.policy} is empty", cure="Write the policy into it.")
        return found.model_copy(update={"policy": policy})
    if judging.rubric.endswith((".yaml", ".yml")):
        return parse(_text(judging.rubric, "options.judge.rubric"), judging.rubric)
    raise SpecError(
        f"options.judge.rubric: {judging.rubric} is neither shipped nor a .yaml file",
        cure=f"Shipped are: {', '.join(SHIPPED)}.",
    )


def _text(path: str, key: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{key}: {path} cannot be read: {error}", cure="Give the path of a UTF-8 file.") from error


def oracle(asked: OracleSpec, world: World | None, offline: bool = False) -> Engine:
    """A hosted or self-served model, the world's own oracle, or a program of the user's own (``python:``)."""
    if asked.model == "world":
        from charter.organism.oracle import Oracle, OracleErrors

        assert world is not None
        return Oracle(world, OracleErrors.model_validate(asked.errors.model_dump()))
    if asked.model.startswith(PROGRAM):
        return program(asked.model)
    from charter.engines.remote import RemoteEngine, RemoteOptions

    options = RemoteOptions(
        base_url=asked.base_url or None,
        key_env=asked.key_env,
        max_connections=asked.connections,
        max_retries=asked.retries,
        give_up_after=asked.give_up_after_s,
        timeout=asked.timeout_s,
        sampling=asked.sampling,
        structured=asked.structured,
        offline=offline,
    )
    return RemoteEngine(asked.model, options)


def price(asked: OracleSpec) -> Price | None:
    """What a million tokens read and written cost: as the spec says, else as Inspect knows; None where nobody does.
    What runs in this process costs nothing."""
    if asked.price_in is not None and asked.price_out is not None:
        return asked.price_in, asked.price_out
    if asked.model == "world" or asked.model.startswith(PROGRAM):
        return FREE
    if asked.base_url:
        return None
    from charter.engines.inspecting import known_price

    return known_price(asked.model)


def prices(asked: Mapping[str, OracleSpec], budget: Budget) -> dict[str, Price | None]:
    """What each role's model costs. Raises SpecError where money is bounded and a price is not known."""
    found = {role: price(model) for role, model in asked.items()}
    unknown = [role for role, cost in found.items() if cost is None]
    if budget.money is not None and unknown:
        raise SpecError(
            "budget.money bounds what nobody knows",
            tuple(f"{role}: the price of its model is not known" for role in unknown),
            "Give price_in and price_out beside the model, for a million tokens; 0 where it costs nothing.",
        )
    return found


def program(model: str) -> Engine:
    """The engine that ``python:package.module:Object`` names: an engine, or what gives one when it is called. Its code
    runs in this process. Raises SpecError."""
    module, _, name = model.removeprefix(PROGRAM).partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise SpecError(
            f"{model} cannot be had: {error}",
            cure="Write python:package.module:Object, with the package where Python finds it (PYTHONPATH).",
        ) from error
    engine = found() if callable(found) and (isinstance(found, type) or not isinstance(found, Engine)) else found
    if not isinstance(engine, Engine):
        raise SpecError(f"{model} gives no engine", cure="Give it identity, generate, score and close.")
    return engine
