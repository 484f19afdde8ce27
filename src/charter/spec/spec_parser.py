"""Reading a spec: every fault is reported at once, with its key path and, for an unknown key, the nearest valid one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from charter.errors import SpecError
from charter.spec import chain_spec
from charter.spec.curation_spec import CurationSpec
from charter.spec.model_spec import NO_MODEL, PROGRAM_PREFIX, OracleSpec
from charter.spec.option_reference import describe_path, list_keys
from charter.spec.prompt_spec import WORLD_SOURCE, SourceSpec
from charter.spec.run_spec import Spec
from charter.spec.yaml_text import load_yaml

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SECRET_KEYS = ("key_env", "base_url")
"""Keys whose wrong value may be a secret: it is not repeated."""
TUNING_METHODS = ("iteralign", "self_align", "engrave", "clone", "cai", "rlhf")
"""Methods that tune the target."""
RECIPE_FOLDER = Path(__file__).parent.parent / "recipes"


def parse_spec(text: str, name: str = "spec") -> Spec:
    """Reads a spec. Raises SpecError with every fault: its key path, what is wrong, and the nearest valid key."""
    value = _load_mapping(text, name)
    spec, faults = _validate(value)
    chained = chain_spec.find_step_faults(value.get("steps"))
    if not chained and isinstance(value.get("steps"), list):
        for number, step in enumerate(chain_spec.expand_steps(value)):
            chained += [f"steps.{number}.{fault}" for fault in _validate(step)[1] if fault not in faults]
    faults += chained
    if faults or spec is None:
        raise SpecError(
            f"{name} is not valid",
            tuple(dict.fromkeys(faults)),
            "Mend these keys; `charter init --all` shows every key with its default.",
        )
    return spec


def split_chain(text: str, name: str = "spec") -> list[tuple[str, str]]:
    """The steps of a spec that chains methods: a folder's name and a spec's text for each; none where it chains
    nothing. Raises SpecError."""
    if not parse_spec(text, name).steps:
        return []
    steps = chain_spec.expand_steps(_load_mapping(text, name))
    texts = (yaml.safe_dump(step, sort_keys=False, allow_unicode=True) for step in steps)
    named = (chain_spec.step_folder(number, step["method"]) for number, step in enumerate(steps, 1))
    return list(zip(named, texts, strict=True))


def _validate(value: Mapping[Any, Any]) -> tuple[Spec | None, list[str]]:
    """The spec, where it can be read, and every fault."""
    if isinstance(value.get("scale"), str):
        value = {**value, "scale": load_scale(value["scale"])}
    try:
        spec = Spec.model_validate(dict(value))
    except ValidationError as error:
        found = (_describe_fault(e.get("loc", ()), e["type"], e["msg"], e.get("input")) for e in error.errors())
        return None, [line for line in found if line]
    return spec, _find_conflicts(spec)


def _load_yaml(text: str, name: str) -> Any:
    return load_yaml(text, name, "Mend it; `charter init` writes a commented spec.")


def _load_mapping(text: str, name: str) -> dict[Any, Any]:
    value = _load_yaml(text, name)
    if not isinstance(value, dict):
        raise SpecError(f"{name} holds no mapping", cure="`charter init` writes a commented spec to start from.")
    return value


def list_recipes() -> dict[str, Path]:
    """The shipped recipes by name."""
    return {path.stem: path for path in sorted(RECIPE_FOLDER.glob("*.yaml"))}


def load_scale(name: str) -> object:
    """A shipped ``scale`` block; the name itself where there is none, so that validation reports it."""
    path = RECIPE_FOLDER / "scales" / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else name


def read_spec(path: Path) -> tuple[Spec, str]:
    """A spec file, parsed, with its text. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path} cannot be read: {error}",
            cure="Give the path of a spec, or the name of a shipped recipe (`charter init --list`).",
        ) from error
    return parse_spec(text, str(path)), text


def change_spec(text: str, changes: Mapping[str, str], name: str = "spec") -> str:
    """A spec's text with ``key.path=value`` changes (values are YAML), validated. Raises SpecError."""
    value = _load_mapping(text, name)
    for path, new in changes.items():
        *parents, last = path.split(".")
        place = value
        if parents and isinstance(value.get("scale"), str):
            value["scale"] = load_scale(value["scale"])
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = _load_yaml(new, path)
    out = yaml.safe_dump(value, sort_keys=False, allow_unicode=True) if changes else text
    parse_spec(out, name)
    return out


def change_curation(options: CurationSpec, changes: Mapping[str, str]) -> CurationSpec:
    """The filters with ``key=value`` changes (values are YAML). Raises SpecError."""
    try:
        return CurationSpec.model_validate(
            options.model_dump() | {key: _load_yaml(new, key) for key, new in changes.items()}
        )
    except ValidationError as error:
        faults = [_describe_fault(e.get("loc", ()), e["type"], e["msg"], e.get("input")) for e in error.errors()]
        known = f"The keys: {', '.join(CurationSpec.model_fields)}."
        raise SpecError("these filters are not valid", tuple(line for line in faults if line), known) from error


def _find_conflicts(spec: Spec) -> list[str]:
    """Faults of keys that must fit one another."""
    faults = [*_judge_faults(spec), *_target_faults(spec), *_ratify_faults(spec), *_offline_faults(spec)]
    if spec.method == "calibrate" and not (
        spec.calibrate.pairs or spec.calibrate.labelled or spec.calibrate.injections
    ):
        faults.append("calibrate: nothing to measure on; give pairs, labelled or injections")
    if spec.method == "evaluate" and not spec.benchmarks:
        faults.append("benchmarks: nothing to measure; name at least one")
    left = spec.continue_from is not None and spec.continue_from.inherit == "policy"
    if spec.method == "engrave" and not (spec.options.engrave.rows or left):
        faults.append("options.engrave.rows: is empty, and no step before leaves rows; name files of chat rows")
    if spec.method == "audit" and not spec.audit.baseline:
        faults.append("audit.baseline: is missing: a run, a model, or a finished audit")
    if spec.world:
        return faults
    return faults + [_worldless(spec, key) for key, used in _world_uses(spec).items() if used]


def _judge_faults(spec: Spec) -> list[str]:
    """Faults of the judge and of how it is asked."""
    judge, faults = spec.options.judge, list[str]()
    if judge.judge_input == "response" and (judge.votes > 1 or judge.rubric != "conduct"):
        faults.append(
            "options.judge.judge_input: the judge that sees the response alone has no other rubric and one vote"
        )
    if judge.read == "label" and (judge.votes > 1 or judge.temperature > 0 or judge.judge_input == "response"):
        faults.append(
            "options.judge.read: `label` is read once, from prompt and response; leave out votes, temperature and "
            "judge_input"
        )
    if spec.calibrate.both_readings and not spec.calibrate.labelled:
        faults.append("calibrate.both_readings: readings are compared on labelled files; give calibrate.labelled")
    if judge.policy and judge.rubric != "policy":
        faults.append("options.judge.policy: is for the rubric `policy`; set options.judge.rubric to it")
    if judge.rubric == "policy" and not judge.policy:
        faults.append("options.judge.policy: the rubric `policy` needs a file with the policy's text")
    if spec.proposer is not None and spec.proposer.calibration:
        faults.append("proposer.calibration: only a judge and an evaluator are calibrated")
    writers = {"proposer": spec.proposer, "attacker": spec.attacker}
    faults += [
        f"{role}.classifiers: it writes, and judges nothing; give them to judge or evaluator"
        for role, writer in writers.items()
        if writer is not None and writer.classifiers
    ]
    return faults


_LINES = {
    "target.model": "target: {model: Qwen/Qwen3-0.6B}",
    "oracle.model": "oracle: {model: openai/gpt-4o}",
    "evaluator": "evaluator: {model: openai/gpt-4o}",
    "prompts.redteam": "prompts: {redteam: [{path: prompts.jsonl}]}",
    "prompts.helpful": "prompts: {helpful: [{path: questions.jsonl}]}",
}
"""What a spec without a test world must say, by key."""


def _worldless(spec: Spec, key: str) -> str:
    """The fault of a key that falls back on a test world where there is none: it is missing, or names one."""
    top, _, inner = key.partition(".")
    held = getattr(spec, top)
    said = top in spec.model_fields_set and (not inner or inner in getattr(held, "model_fields_set", {inner}))
    if said or key not in _LINES:
        return f"{key}: refers to a test world, but `world` is not set"
    return f"{key}: is missing, and no test world stands in for it; write for example `{_LINES[key]}`"


def _names_world(sources: str | Sequence[SourceSpec]) -> bool:
    """Whether the prompts of a test world are among these."""
    return isinstance(sources, str) or any(source.program == WORLD_SOURCE for source in sources)


def _world_uses(spec: Spec) -> dict[str, bool]:
    """What the method uses of a test world, by key."""
    uses = {
        "target.model": spec.target.model == "organism",
        "oracle.model": spec.oracle.model == "world" and (spec.judge is None or spec.proposer is None),
        "judge.model": spec.judge is not None and spec.judge.model == "world",
        "proposer.model": spec.proposer is not None and spec.proposer.model == "world",
        "evaluator": spec.evaluator == "world",
        "prompts.redteam": _names_world(spec.prompts.redteam),
        "prompts.helpful": _names_world(spec.prompts.helpful),
        "templates": spec.templates == "world",
    }
    if spec.method == "calibrate":
        uses = {key: used for key, used in uses.items() if key in ("judge.model", "templates")}
        uses["oracle.model"] = spec.judge is None and spec.oracle.model == "world"
    if spec.method == "self_instruct":
        uses = {key: used for key, used in uses.items() if key == "templates"} | _self_instruct_uses(spec)
    if spec.method == "evaluate":
        needed = {"target.model", "templates"} | {"evaluator" for b in spec.benchmarks if b.judged}
        uses = {key: used for key, used in uses.items() if key in needed}
    return uses


def _self_instruct_uses(spec: Spec) -> dict[str, bool]:
    """What of a test world self-instruct uses, by key."""
    asked, by_target = spec.options.instruct, spec.options.instruct.generator == "target"
    writer = "oracle" if spec.proposer is None else "proposer"
    return {
        "target.model": by_target and spec.target.model == "organism",
        f"{writer}.model": not by_target and (spec.proposer or spec.oracle).model == "world",
        "options.instruct.seeds": asked.seeds == "world",
        "options.instruct.topics.types": asked.topics.types == "world" and asked.topics.rounds > 0,
    }


def _offline_faults(spec: Spec) -> list[str]:
    """Models that cannot be reached in a run that is offline."""
    if not spec.offline:
        return []
    roles = ("oracle", "judge", "proposer", "attacker", "evaluator")
    asked = {role: getattr(spec, role) for role in roles}
    if spec.target.by_http:
        asked["target"] = OracleSpec(model=spec.target.model, base_url=spec.target.base_url)
    return [
        f"{key}.model: {model.model} is reached over the network, and offline is true; serve it on 127.0.0.1 (base_url)"
        for key, model in asked.items()
        if isinstance(model, OracleSpec)
        and model.model not in ("world", NO_MODEL)
        and not model.model.startswith(PROGRAM_PREFIX)
        and not model.has_weights
        and urlsplit(model.base_url).hostname not in LOOPBACK
    ]


def _ratify_faults(spec: Spec) -> list[str]:
    """Faults of who decides about rules."""
    asked = spec.options.ratify
    if asked.by == "auto":
        return []
    if spec.method != "iteralign":
        return [f"options.ratify.by: {spec.method} discovers no rules; set it to auto, or set method: iteralign"]
    if asked.by == "threshold" and not spec.options.measure.efficacy:
        return ["options.ratify.by: threshold goes by measured efficacy; set options.measure.efficacy to true"]
    return []


def _target_faults(spec: Spec) -> list[str]:
    """Faults of the target and of how it is tuned."""
    faults = spec.target.find_faults() + spec.tuner.find_faults()
    if spec.tuner.quantize != "none" and spec.options.tune.kind == "full":
        faults.append("tuner.quantize: weights of 4 bits cannot be tuned in full; set options.tune.kind: lora")
    if spec.tuner.on_cluster and spec.executor.kind != "ray":
        faults.append("tuner.on_cluster: there is no cluster; set executor: ray")
    if spec.method == "rlhf":
        faults += _rlhf_faults(spec)
    if spec.target.by_http and spec.method in TUNING_METHODS:
        faults.append(
            "target: is only reached by HTTP, and cannot be tuned; give its weights in target.model (and, where they "
            "do not fit into this process, a server in target.serve), or set method: red_team"
        )
    if spec.target.by_http and spec.target.model == "organism":
        faults.append("target.model: must be the name by which the server knows the model")
    return faults


def _rlhf_faults(spec: Spec) -> list[str]:
    """Faults of learning from preferences."""
    learn, gates, faults = spec.options.learn, spec.options.gates, list[str]()
    if learn.rates_answers and spec.options.curate.enabled:
        faults.append("options.curate: sifts pairs, not answers rated alone; set options.learn.kto.rows: pairs")
    if learn.rates_answers and learn.pairs.by == "people":
        faults.append("options.learn.pairs.by: people compare answers; set options.learn.kto.rows: pairs")
    if learn.rates_answers and (learn.kto.rows == "people") != bool(learn.kto.files):
        faults.append("options.learn.kto.files: are read with options.learn.kto.rows: people, and only then; give both")
    if learn.algorithm == "kto" and spec.tuner.micro_batch == 1:
        faults.append("tuner.micro_batch: KTO estimates the divergence over a batch; set it to 2 or more")
    if learn.pairs.by == "people" and not learn.pairs.files:
        faults.append("options.learn.pairs.files: is empty; name files of pairs, or let `judge` or `model` compare")
    if spec.tuner.program and learn.algorithm == "rloo":
        faults.append("tuner.program: rloo has a tuner of its own; set options.learn.algorithm to dpo or kto")
    if learn.algorithm == "rloo" and learn.rloo.batch % learn.rloo.answers_per_prompt:
        faults.append("options.learn.rloo.batch: must be a multiple of options.learn.rloo.answers_per_prompt")
    elsewhere = spec.tuner.launch or spec.tuner.on_cluster
    if elsewhere and learn.algorithm == "rloo" and learn.rloo.reward == "judge":
        faults.append(
            "options.learn.rloo.reward: a judge cannot reward answers that are drawn in other processes; set it to "
            "model, or leave tuner.launch and tuner.on_cluster out"
        )
    if gates.retry_with == "replay" and (learn.algorithm == "rloo" or not learn.replay):
        faults.append(
            "options.gates.retry_with: there is no replay that a policy could be tried again with more of; "
            "set it to step"
        )
    return faults


def _describe_fault(place: tuple[int | str, ...], kind: str, message: str, given: object) -> str:
    names = [str(part) for part in place]
    unknown = kind == "extra_forbidden"
    tagged = names[:-1] if unknown else names
    path = ".".join([*(n for n in tagged if not n.endswith(("]", "Spec", "Templates"))), *names[len(tagged) :]])
    if unknown:
        near = get_close_matches(names[-1], list_keys(Spec, place[:-1]), n=1, cutoff=0.5)
        return f"{path}: unknown key" + (f"; did you mean `{near[0]}`?" if near else "")
    if kind == "literal_error" and names[-1].startswith("literal[") and isinstance(given, Mapping):
        return ""
    said = message.removeprefix("Value error, ")
    shown = "" if names and names[-1] in _SECRET_KEYS else f" (given: {given!r:.60})"
    meaning = describe_path(Spec, place)
    return f"{path}: {said[0].lower()}{said[1:]}{shown}{meaning and f'. {meaning}'}"
