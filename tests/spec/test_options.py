"""Options: each is described once, in its field, and each is read by some code."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import charter
from charter.errors import EngineError, SpecError
from charter.models.engines.remote_engine import RemoteEngine
from charter.records.chat import Request
from charter.records.model_refs import ModelRef
from charter.records.templates import user_turn
from charter.spec import BenchmarkSpec, Columns, ContinueFrom, OracleSpec, SourceSpec, Spec, change_spec, parse_spec
from charter.spec.option_reference import describe_field, describe_path, find_model, list_options
from charter.wiring import role_models
from charter.wiring.learners import build_learners

ITEMS = (SourceSpec, Columns, BenchmarkSpec, ContinueFrom, OracleSpec)
"""Parts of a spec that no spec holds by default."""
RLHF = "method: rlhf\nworld: village\n"


@cache
def parse_sources() -> dict[Path, ast.Module]:
    """The syntax tree of every module of the package."""
    paths = sorted(Path(charter.__file__).parent.rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def spec_classes(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A part of the spec, and every part inside."""
    yield model
    for field in model.model_fields.values():
        inner = find_model(field.annotation)
        if inner is not None:
            yield from spec_classes(inner)


CLASSES = {model.__name__: model for start in (Spec, *ITEMS) for model in spec_classes(start)}


@pytest.mark.parametrize("name", CLASSES)
def test_every_option_is_described_in_its_field(name: str) -> None:
    model = CLASSES[name]
    assert model.model_fields
    for field in model.model_fields:
        description = describe_field(model, field)
        assert description.endswith("."), f"{name}.{field}"
        assert description[0].isupper() or description[0] == "`", f"{name}.{field}"
        assert max(len(sentence.split()) for sentence in description.split(". ")) <= 30, f"{name}.{field}"


@pytest.mark.parametrize("name", CLASSES)
def test_no_option_is_described_twice(name: str) -> None:
    """Neither by its class, nor by a text under the field, nor by another field's words."""
    model = CLASSES[name]
    own = [field.description for field in model.model_fields.values() if field.description]
    assert len(own) == len(set(own))
    (tree,) = [
        node
        for path, source in parse_sources().items()
        for node in source.body
        if isinstance(node, ast.ClassDef) and node.name == name and model.__module__.endswith(path.stem)
    ]
    texts = [n for n in tree.body[1:] if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    assert texts == []
    assert not [field for field in model.model_fields if f"``{field}``" in (model.__doc__ or "")]


def read_names(tree: ast.AST) -> Iterator[str]:
    """Names that code reads: attributes, and texts by which a program asks for a field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def test_code_reads_every_option() -> None:
    read = {name for source in parse_sources().values() for name in read_names(source)}
    idle = [o.path for o in list_options(Spec()) if o.path.split(".")[-1] not in read]
    assert idle == [], "an option that nothing reads decides nothing: take it out"
    assert [f"{m.__name__}.{f}" for m in ITEMS for f in m.model_fields if f not in read] == []


def test_the_test_finds_an_option_that_nothing_reads() -> None:
    tree = ast.parse("class Part(Record):\n    idle: int = 1\n    used: int = 2\nprint(Part().used)")
    assert {"used"} == {"idle", "used"} & set(read_names(tree))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("options.draw.batch", "0"),
        ("options.gates.alpha", "2"),
        ("oracle.timeout_s", "soon"),
        ("prompts.redteam", "[{path: x, limit: 0}]"),
        ("templates.judge", "say something"),
        ("evaluator", "{model: m, retries: -1}"),
    ],
)
def test_a_fault_says_what_its_key_means(key: str, value: str) -> None:
    with pytest.raises(SpecError) as caught:
        change_spec("world: village\n", {key: value})
    place = {"prompts.redteam": ("prompts", "redteam", 0, "limit"), "evaluator": ("evaluator", "retries")}
    meaning = describe_path(Spec, place.get(key, tuple(key.split("."))))
    assert meaning
    assert any(meaning in fault for fault in caught.value.faults), caught.value.faults


def test_a_key_that_is_not_there_means_nothing() -> None:
    assert describe_path(Spec, ("options", "draw", "batsch")) == ""
    assert describe_path(Spec, ("options", "draw", "batch")) == "Prompts in the first iteration."


# ---------------------------------------------------------------- what no recipe sets reaches what it is for


def test_a_server_has_the_time_that_the_spec_gives(tmp_path: Path) -> None:
    """A command that never answers ends with the seconds that it had, and the key that gives more."""
    serve = f"{sys.executable} -c 'import time; time.sleep(60)' {{base}} {{name}} {{port}}"
    target = {"model": str(tmp_path), "serve": serve, "serve_ready_s": 0.3}
    spec = parse_spec(json.dumps({"world": "village", "target": target}))
    policy = ModelRef(base=str(tmp_path), base_digest="b", digest="d")
    asked = Request(id="r", messages=user_turn("hello"))
    with (
        closing(role_models.build_served_engine(spec, policy, tmp_path / "serving")) as engine,
        pytest.raises(EngineError, match=r"not ready after 0\.3 s") as caught,
    ):
        list(engine.generate([asked]))
    assert "target.serve_ready_s" in str(caught.value.cure)


@pytest.mark.parametrize(("target", "most"), [({}, 256), ({"connections": 3}, 3), ({"serve_replicas": 2}, 256)])
def test_a_server_of_our_own_has_many_requests_and_time_to_queue_them(
    target: dict[str, Any], most: int, tmp_path: Path
) -> None:
    serve = {"model": str(tmp_path), "serve": "s {base} {name} {port}"}
    spec = parse_spec(json.dumps({"world": "village", "target": serve | target}))
    policy = ModelRef(base=str(tmp_path), base_digest="b", digest="d")
    served = role_models.build_served_engine(spec, policy, tmp_path / "serving")
    asked = served._connect(["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"], "n")
    assert isinstance(asked, RemoteEngine)
    assert (asked.options.max_connections, asked.options.timeout) == (most, role_models.QUEUE_SECONDS)
    assert asked.options.more_urls == ("http://127.0.0.1:2/v1",)
    assert served.options.replicas == target.get("serve_replicas", 1)


@pytest.mark.parametrize(
    ("role", "fault"),
    [
        ({"more_urls": ["http://h/v1"]}, "more_urls: the first address of the model stands in base_url"),
        ({"base_url": "http://h/v1", "more_urls": ["h"]}, "is the address of a server"),
        ({"base_url": "http://h/v1", "more_urls": ["http://u:p@h/v1"]}, "a key goes into the variable"),
    ],
)
def test_further_addresses_are_checked_as_the_first_is(role: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        parse_spec(json.dumps({"world": "village", "oracle": {"model": "m", **role}}))


def unchanged(tuner: Any) -> Any:
    """A tuner as it is."""
    return tuner


@pytest.mark.parametrize(
    ("changes", "tuner", "expected"),
    [
        ({"options.learn.dpo.sft_weight": "0.3"}, "preference_tuner", {"sft_weight": 0.3}),
        ({"options.tune.weight_decay": "0.1"}, "preference_tuner", {"weight_decay": 0.1}),
        ({"options.tune.dropout": "0.2", "options.tune.targets": "[q_proj]"}, "reward_tuner", {"dropout": 0.2}),
        ({"options.learn.reward.center_rewards_coefficient": "0.5"}, "reward_tuner", {"center": 0.5}),
        ({"options.learn.rloo.answers_per_prompt": "8"}, "rl_tuner", {"group_size": 8}),
        ({"options.learn.guard.max_kl": "3"}, "rl_tuner", {"max_kl": 3.0}),
    ],
)
def test_an_option_of_training_reaches_its_trainer(
    changes: dict[str, str], tuner: str, expected: dict[str, object], tmp_path: Path
) -> None:
    spec = parse_spec(change_spec(RLHF, changes))
    found = json.loads(getattr(build_learners(spec, tmp_path, tmp_path, unchanged), tuner).identity)
    assert {key: found[key] for key in expected} == expected
