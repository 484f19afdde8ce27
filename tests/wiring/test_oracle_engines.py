"""Oracles whose weights are at hand: in process or served, shared by roles, out of memory while something learns."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from charter.errors import SpecError, UnsupportedError
from charter.models import weights
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.engines.served_engine import ServedEngine
from charter.records.model_refs import ModelRef
from charter.records.training_rows import TrainingRow
from charter.runs import Run
from charter.spec import OracleSpec, parse_spec
from charter.wiring.components import Components
from charter.wiring.role_models import FREE, connect_oracle, find_price
from charter.wiring.targets import MemoryFreeingTuner
from tests.fakes import tiny_models
from tests.models.engines.test_served_engine import SERVER

QUESTION = tiny_models.ask("a", "how do i bake a cake", max_tokens=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("oracle"))


def asked(**roles: dict[str, Any]) -> Components:
    return Components(parse_spec(json.dumps({"world": "village", **roles})))


def test_a_folder_answers_in_this_process_and_costs_nothing(folder: Path) -> None:
    spec = OracleSpec(model=str(folder))
    engine = connect_oracle(spec, None)
    alone = LocalEngine(weights.resolve_model(str(folder)), LocalOptions(reply_schema=True))
    assert isinstance(engine, LocalEngine)
    assert next(iter(engine.generate([QUESTION]))).text
    assert engine.identity == alone.identity
    assert find_price(spec) == FREE


def test_replies_are_held_to_a_schema_unless_the_spec_says_no(folder: Path) -> None:
    free = connect_oracle(OracleSpec(model=str(folder), reply_schema=False), None)
    assert isinstance(free, LocalEngine)
    assert not free.options.reply_schema
    assert free.identity == LocalEngine(weights.resolve_model(str(folder))).identity


def test_replies_are_drawn_with_no_less_than_the_spec_says(folder: Path) -> None:
    short = connect_oracle(OracleSpec(model=str(folder), sampling={"max_tokens": 4}), None)
    long = connect_oracle(OracleSpec(model=str(folder), sampling={"max_tokens": 9}), None)
    assert next(iter(short.generate([QUESTION]))).tokens_out == 4
    assert next(iter(long.generate([QUESTION]))).tokens_out == 9


def test_roles_that_name_the_same_weights_share_them(folder: Path) -> None:
    same = {"model": str(folder), "price_in": 1.0, "price_out": 1.0}
    parts = asked(oracle={"model": str(folder)}, judge=same)
    assert parts.connect_oracle("judge") is parts.connect_oracle("proposer")
    other = asked(oracle={"model": str(folder)}, judge={"model": str(folder), "context": 64})
    assert other.connect_oracle("judge") is not other.connect_oracle("proposer")


def test_weights_that_were_lent_stay_for_the_roles_unless_something_was_wrong(folder: Path, tmp_path: Path) -> None:
    parts = asked(oracle={"model": str(folder)})
    with Run.create(tmp_path / "run", spec_text="world: village\n") as run:
        with parts.lend_oracle(run, parts.spec.oracle) as lent:
            assert isinstance(lent, LocalEngine)
            model = weakref.ref(lent.model)
        assert parts.connect_oracle("judge") is lent
        assert model() is not None, "they are not loaded twice"
        with pytest.raises(UnsupportedError), parts.lend_oracle(run, parts.spec.oracle):
            raise UnsupportedError("it gives no probabilities", "Take another.")
        gc.collect()
        assert model() is None


class WatchingTuner:
    """Sees whether a model is in memory while it trains."""

    identity = "watching"

    def __init__(self, model: Any) -> None:
        self.model, self.seen = weakref.ref(model), ""

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        gc.collect()
        self.seen = "gone" if self.model() is None else "in memory"
        return start


def test_its_weights_are_out_of_memory_while_something_learns(folder: Path, tmp_path: Path) -> None:
    parts = asked(oracle={"model": str(folder)})
    judge = parts.connect_oracle("judge")
    assert isinstance(judge, LocalEngine)
    first = [c.text for c in judge.generate([QUESTION])]
    tuner = WatchingTuner(judge.model)
    MemoryFreeingTuner(tuner, parts.free_memory).tune(parts.start, [], tmp_path, 0)
    assert tuner.seen == "gone"
    assert [c.text for c in judge.generate([QUESTION])] == first


@pytest.mark.slow
def test_a_server_is_started_for_it_and_ended(folder: Path, tmp_path: Path) -> None:
    command = f"{SERVER} {{port}} {{name}} --folder {{base}} --pid"
    engine = connect_oracle(OracleSpec(model=str(folder), serve=command), None, offline=True, folder=tmp_path / "log")
    assert isinstance(engine, ServedEngine)
    with closing(engine):
        assert engine.name in next(iter(engine.generate([QUESTION]))).text
    assert (tmp_path / "log" / "log").is_file()


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"in_process": True, "base_url": "http://127.0.0.1:1/v1"}, "runs in one place"),
        ({"serve": "run {base} {name}"}, "holds no {port}"),
        ({"serve": "run {base} {adapter} {name} {port}"}, "has no {adapter}"),
    ],
)
def test_what_does_not_fit_together_is_named(fields: dict[str, Any], fault: str) -> None:
    spec = {"world": "village", "oracle": {"model": "owner/name", **fields}}
    with pytest.raises(SpecError) as error:
        parse_spec(json.dumps(spec))
    assert fault in str(error.value)


def test_weights_at_hand_can_be_asked_offline(folder: Path) -> None:
    spec = {"world": "village", "offline": True, "oracle": {"model": str(folder)}}
    assert parse_spec(json.dumps(spec)).oracle.has_weights
    with pytest.raises(SpecError, match="reached over the network"):
        parse_spec(json.dumps({**spec, "oracle": {"model": "owner/name"}}))
