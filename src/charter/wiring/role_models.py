"""From a spec to live models: the target, its tuner, and the oracles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.errors import EngineError, SpecError
from charter.judging.rubrics import Rubric
from charter.ports import Engine, RLTuner, Tuner
from charter.records.chat import Prompt, Sampling
from charter.records.model_refs import ModelRef
from charter.records.record import digest
from charter.records.templates import Templates
from charter.runs.spending import Price
from charter.spec import NO_MODEL, PROGRAM_PREFIX, Budget, JudgingSpec, OracleSpec, Spec
from charter.wiring.classifier_roles import Wordless, divide_judge
from charter.wiring.plugins import load_object
from charter.wiring.program_engines import load_engine

FREE: Price = (0.0, 0.0)
QUEUE_SECONDS = 3600
"""Seconds that a call may wait in the queue of a server that charter started, with its answer. Where the server ends,
the call fails at once."""
UNTUNED = ("red_team", "evaluate", "audit", "calibrate", "self_instruct", "think")
"""Methods that train nothing."""

if TYPE_CHECKING:
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions
    from charter.models.engines.ray_cluster import RayCluster
    from charter.models.engines.served_engine import ServedEngine
    from charter.models.engines.template_report import TemplateReport
    from charter.models.tuners.tuner_options import TuneOptions
    from charter.organism.world import World


def load_world(spec: Spec) -> World | None:
    """The test world that the spec names; None where it names none. Raises SpecError."""
    if not spec.world:
        return None
    from charter.organism.world import World

    return World.load(spec.world)


def resolve_start(spec: Spec, world: World | None, revision: str = "") -> ModelRef:
    """The starting model, resolved to a commit and weight digest; ``revision`` goes before the spec's. One that
    is only reached by HTTP has its name alone. Raises EngineError."""
    from charter.models.weights import resolve_model

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
    return resolve_model(base, revision or target.revision, offline=spec.offline, remote_code=target.remote_code)


def context_length(spec: Spec, start: ModelRef) -> int | None:
    """Tokens that the target reads; None where its configuration does not tell. Loads no weights."""
    from charter.models import weights

    where = weights.model_folder(start, offline=spec.offline, remote_code=spec.target.remote_code)
    return weights.context_length(weights.load_config(where, remote_code=spec.target.remote_code))


def build_local_engine(spec: Spec, start: ModelRef) -> LocalEngine:
    """The target in process; it loads when it is first asked."""
    from charter.models.engines.local_engine import LocalEngine

    return LocalEngine(start, local_options(spec))


def local_options(spec: Spec) -> LocalOptions:
    """How the target's weights are loaded and asked."""
    from charter.models.engines.local_options import LocalOptions

    target = spec.target
    return LocalOptions.model_validate(
        {
            "device": target.device,
            "dtype": target.dtype,
            "batch_size": target.batch,
            "batch_tokens": target.batch_tokens,
            "plain": target.plain,
            "template": target.template,
            "context": target.context,
            "today": target.today,
            "thoughts": target.thoughts,
            "remote_code": target.remote_code,
            "offline": spec.offline,
        }
    )


def describe_target(spec: Spec, start: ModelRef, prompts: Sequence[Prompt] = ()) -> dict[str, Any]:
    """What the target is, where and how it answers, and what is to be known of its chat template before anything is
    paid. Loads no weights. Raises EngineError, SpecError."""
    target = spec.target
    known = {} if target.by_http else build_local_engine(spec, start).describe(prompts)
    if not target.by_http:
        check_training(spec, start)
    if not target.by_http and not target.serve:
        return known
    unknown = {"revision": "", "digest": "", "architecture": "identity not verifiable", "context": 0}
    own = {"device": "a server", "dtype": "its precision", "format": "its chat format"}
    return {"model": target.model, **unknown, **known, **own, "batch": target.most_connections}


def report_model(model: str, plain: bool = False) -> TemplateReport:
    """What the chat template of a model folder or hub id makes of one made-up row. Raises EngineError."""
    from charter.models.engines.local_engine import LocalEngine
    from charter.models.engines.local_options import LocalOptions
    from charter.models.engines.template_report import report_template
    from charter.models.weights import resolve_model

    return report_template(LocalEngine(resolve_model(model), LocalOptions(plain=plain)).dialogue())


def check_training(spec: Spec, start: ModelRef) -> None:
    """Raises SpecError where the target cannot be trained as the spec says: tied layers, or thoughts in practice."""
    from charter.models import weights

    tune, target = spec.options.tune, spec.target
    if spec.method in UNTUNED:
        return
    if tune.kind == "lora" and tune.targets != "auto":
        where = weights.model_folder(start, offline=spec.offline, remote_code=target.remote_code)
        if tied := weights.find_tied(where, tune.targets, remote_code=target.remote_code):
            fault = f"options.tune.targets: {', '.join(tied)}: its weights are tied to another layer's"
            raise SpecError("LoRA cannot be kept apart from tied embeddings", (fault,), weights.TIED_CURE)
    practises = spec.method == "rlhf" and spec.options.learn.algorithm == "rloo" and target.thoughts == "drop"
    if practises and build_local_engine(spec, start).dialogue().marks.opened:
        fault = "target.thoughts: practice learns from all that it draws, and this chat template opens a thought"
        raise SpecError(
            "thoughts would be learnt", (fault,), "Set target.thoughts: keep, or options.learn.algorithm: dpo."
        )


def fix_date(spec: Spec, start: ModelRef) -> Spec:
    """The spec with today as the date that the target's chat template writes. Unchanged where the template writes none,
    or the spec names one (a run that goes on names the one that it began with)."""
    target = spec.target
    if target.by_http or target.plain or target.today:
        return spec
    from charter.models import weights

    where = weights.model_folder(start, offline=spec.offline, remote_code=target.remote_code)
    if not weights.asks_date(where) or not build_local_engine(spec, start).dialogue().dated:
        return spec
    today = date.today().isoformat()
    return spec.model_copy(update={"target": target.model_copy(update={"today": today})})


def connect_target(spec: Spec) -> Engine:
    """The target that is only reached by HTTP."""
    from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions

    target = spec.target
    options = RemoteOptions(
        base_url=target.base_url or None, max_connections=target.most_connections, offline=spec.offline
    )
    return RemoteEngine(target.model, options)


def build_served_engine(
    spec: Spec, policy: ModelRef, folder: Path, kind: type[ServedEngine] | None = None
) -> ServedEngine:
    """A policy behind a server of its own; the server's log and lock lie in ``folder``. ``kind``: the engine's class
    (None: ``ServedEngine``)."""
    from charter.models.engines.remote_engine import RemoteEngine, RemoteOptions
    from charter.models.engines.served_engine import ServedEngine, ServedOptions

    target = spec.target

    def connect(urls: Sequence[str], name: str) -> Engine:
        options = RemoteOptions(
            base_url=urls[0],
            more_urls=tuple(urls[1:]),
            max_connections=target.most_connections,
            timeout=QUEUE_SECONDS,
            give_up_after=60,
        )
        return RemoteEngine(name, options)

    serving = ServedOptions(
        command=target.serve,
        start_command=target.serve_start,
        ready_s=target.serve_ready_s,
        replicas=target.serve_replicas,
        offline=spec.offline,
        remote_code=target.remote_code,
    )
    return (kind or ServedEngine)(policy, serving, folder, connect)


def build_cluster(spec: Spec) -> RayCluster | None:
    """The cluster that the spec names, which is joined when it is first asked; None where there is none."""
    if spec.executor.kind == "process":
        return None
    from charter.models.engines.ray_cluster import RayCluster, RayOptions

    return RayCluster(RayOptions.model_validate(spec.executor.model_dump(exclude={"kind"})))


def tuner_options(spec: Spec) -> dict[str, Any]:
    """What every training is told."""
    tune, scale, target = spec.options.tune, spec.scale, spec.target
    return tune.model_dump(exclude={"start", "learning_rate", "rank"}) | {
        "lr": tune.learning_rate or scale.learning_rate,
        "r": tune.rank,
        "max_length": min(scale.row_tokens, target.context or scale.row_tokens),
        "device": target.device,
        "dtype": target.dtype,
        "plain": target.plain,
        "template": target.template,
        "today": target.today,
        "thoughts": target.thoughts,
        "remote_code": target.remote_code,
        "offline": spec.offline,
        "quantize": spec.tuner.quantize,
        "save_steps": spec.tuner.save_steps if spec.tuner.launch else 0,
    }


def build_tuner(spec: Spec, folder: Path, cluster: RayCluster | None = None) -> Tuner:
    """The tuner that the spec asks for; one that is launched has its job and checkpoints in ``folder``."""
    from charter.models.tuners.tuner_options import SftOptions

    if spec.tuner.program:
        return load_object(spec.tuner.program, Tuner)
    options = SftOptions.model_validate({**tuner_options(spec), "row_order": spec.scale.row_order})
    return place_tuner(spec, options, folder, cluster)


def place_tuner(spec: Spec, options: TuneOptions, folder: Path, cluster: RayCluster | None) -> RLTuner:
    """What trains by such options where the spec says: here, in processes of its own, or on nodes of ``cluster``."""
    from charter.models.tuners.launched_tuner import LaunchedTuner
    from charter.models.tuners.local_tuner import LocalTuner
    from charter.models.tuners.node_launcher import NodeLauncher
    from charter.models.tuners.ray_tuner import RayTuner

    asked = spec.tuner
    if asked.nodes > 1:
        assert cluster is not None, "the spec names one"
        launcher = NodeLauncher(cluster, asked.nodes, asked.cpus, asked.gpus)
        return LaunchedTuner(options, asked.launch, folder, asked.micro_batch, launcher)
    here = LaunchedTuner(options, asked.launch, folder, asked.micro_batch) if asked.launch else LocalTuner(options)
    if not asked.on_cluster:
        return here
    assert cluster is not None, "the spec names one"
    return RayTuner(here, cluster, asked.cpus, asked.gpus)


def answer_sampling(spec: Spec, longest: int | None = None) -> Sampling:
    """How the target answers, in at most ``longest`` tokens (None: ``scale.answer_tokens``)."""
    scale = spec.scale
    return Sampling(
        temperature=scale.temperature,
        top_p=scale.top_p,
        max_tokens=longest or scale.answer_tokens,
        stop=scale.stop,
        frequency_penalty=scale.frequency_penalty,
    )


def build_templates(spec: Spec, world: World | None) -> Templates:
    """What is said to models: the spec's words, or the world's."""
    if spec.templates != "world":
        return spec.templates
    assert world is not None
    return Templates.model_validate(world.target_templates)


def load_rubric(judging: JudgingSpec) -> Rubric:
    """The rubric that findings are made by: shipped, with a policy, or from a file. Raises SpecError, also where its
    labels cannot be read as the spec says."""
    from charter.judging.judge_requests import label_template

    rubric = _find_rubric(judging)
    if judging.read == "label":
        label_template(rubric, Templates())
    return rubric


def _find_rubric(judging: JudgingSpec) -> Rubric:
    from charter.judging.rubrics import SHIPPED_RUBRICS, parse_rubric

    if judging.rubric in SHIPPED_RUBRICS:
        found = SHIPPED_RUBRICS[judging.rubric]
        if not judging.policy:
            return found
        if not (policy := _read_text(judging.policy, "options.judge.policy")).strip():
            raise SpecError(f"{judging.policy} is empty", cure="Write the policy into it.")
        return found.model_copy(update={"policy": policy})
    if judging.rubric.endswith((".yaml", ".yml")):
        return parse_rubric(_read_text(judging.rubric, "options.judge.rubric"), judging.rubric)
    raise SpecError(
        f"options.judge.rubric: {judging.rubric} is neither shipped nor a .yaml file",
        cure=f"Shipped are: {', '.join(SHIPPED_RUBRICS)}.",
    )


def _read_text(path: str, key: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{key}: {path} cannot be read: {error}", cure="Give the path of a UTF-8 file.") from error


def connect_oracle(
    asked: OracleSpec,
    world: World | None,
    offline: bool = False,
    folder: Path | None = None,
    rubric: Rubric | None = None,
    cluster: RayCluster | None = None,
) -> Engine:
    """A hosted or self-served model, weights at hand, the world's own oracle, or a program of the user's own
    (``python:``); with its classifiers, of which one may judge by ``rubric`` (what a finding is). ``folder`` is for the
    log and lock of a server that is started for it; weights at hand answer on ``cluster``, where there is one."""
    if asked.classifiers:
        in_words = connect_oracle(asked.in_words, world, offline, folder, cluster=cluster)
        return divide_judge(asked, in_words, rubric, offline, cluster)
    if asked.model == NO_MODEL:
        return Wordless()
    if asked.model == "world":
        from charter.organism.oracle import Oracle, OracleErrors

        assert world is not None
        return Oracle(world, OracleErrors.model_validate(asked.errors.model_dump()))
    if asked.model.startswith(PROGRAM_PREFIX):
        return load_engine(asked.model)
    from charter.wiring.oracle_engines import connect_remote, open_oracle_weights

    if asked.has_weights:
        return open_oracle_weights(asked, offline, folder, cluster)
    urls = (asked.base_url, *asked.more_urls) if asked.base_url else ()
    return connect_remote(asked, asked.model, urls, offline)


@contextmanager
def open_oracle(spec: Spec, asked: OracleSpec, world: World | None, rubric: Rubric | None = None) -> Iterator[Engine]:
    """An oracle of a spec for as long as it is asked, where the spec's executor says. Raises as ``connect_oracle``."""
    with ExitStack() as opened:
        if (cluster := build_cluster(spec)) is not None:
            opened.callback(cluster.close)
        engine = connect_oracle(asked, world, spec.offline, rubric=rubric, cluster=cluster)
        yield opened.enter_context(closing(engine))


def find_price(asked: OracleSpec) -> Price | None:
    """What a million tokens read and written cost: as the spec says, else as Inspect knows; None where nobody does.
    What runs in this process costs nothing."""
    if asked.price_in is not None and asked.price_out is not None:
        return asked.price_in, asked.price_out
    if asked.model in ("world", NO_MODEL) or asked.model.startswith(PROGRAM_PREFIX) or asked.has_weights:
        return FREE
    if asked.base_url:
        return None
    from charter.models.engines.inspect_client import look_up_price

    return look_up_price(asked.model)


def find_prices(asked: Mapping[str, OracleSpec], budget: Budget) -> dict[str, Price | None]:
    """What each role's model costs. Raises SpecError where money is bounded and a price is not known."""
    found = {role: find_price(model) for role, model in asked.items()}
    unknown = [role for role, cost in found.items() if cost is None]
    if budget.money is not None and unknown:
        raise SpecError(
            "budget.money bounds what nobody knows",
            tuple(f"{role}: the price of its model is not known" for role in unknown),
            "Give price_in and price_out beside the model, for a million tokens; 0 where it costs nothing.",
        )
    return found
