"""A spec is validated whole: every fault at once, with its key path and the nearest valid key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charter.errors import SpecError
from charter.spec import Spec, change_spec, list_recipes, parse_spec, read_spec

FILES = (
    "target: {model: some/model}\noracle: {model: openai/x}\nevaluator: {model: openai/y}\n"
    "prompts: {redteam: [{path: a.csv}], helpful: []}\n"
)


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "my.yaml")
    assert "my.yaml" in str(caught.value)
    assert caught.value.cure
    return caught.value.faults


def test_shipped_recipes_are_valid_and_share_their_scale() -> None:
    specs = {name: parse_spec(path.read_text(encoding="utf-8"), name) for name, path in list_recipes().items()}
    assert {"iteralign", "iteralign-paper"} <= specs.keys()
    ours, paper = specs["iteralign"], specs["iteralign-paper"]
    assert ours.scale == paper.scale


def test_the_paper_recipe_states_every_switch_of_the_paper() -> None:
    options = parse_spec(list_recipes()["iteralign-paper"].read_text(encoding="utf-8")).options
    assert (options.draw.batch, options.draw.order) == (20, "file")
    assert options.judge.judge_input == "response"
    assert (options.cluster.by, options.cluster.hide) == ("batch", 0)
    assert options.propose.reply == "last_paragraph"
    assert options.amend.mode == "replace"
    assert options.contrast.count == 0
    assert options.reflect.turns == "direct"
    assert options.keep.verify is False
    assert (options.replay.ratio, options.replay.fresh, options.replay.lookalikes, options.replay.compliant) == (
        0,
        0,
        False,
        False,
    )
    assert options.measure.efficacy is False
    tune = options.tune
    assert (tune.start, tune.kind, tune.epochs, tune.batch) == ("previous", "full", 3, 8)
    assert (tune.schedule, tune.warmup, tune.weight_decay) == ("cosine", 0.03, 0)
    assert (options.stop.rule, options.gates.roll_back) == ("data", False)


def test_five_errors_are_five_lines() -> None:
    found = faults(
        "world: village\noptoins: {}\nseed: -1\noracle: {modle: x}\n"
        "options: {draw: {batch: 0}, keep: {max_characters: many}}\ntemplates: world\n"
    )
    assert len(found) == 5
    assert "optoins: unknown key; did you mean `options`?" in found
    assert "oracle.modle: unknown key; did you mean `model`?" in found
    assert any(line.startswith("seed: ") and "-1" in line for line in found)
    assert any(line.startswith("options.draw.batch: ") for line in found)
    assert any(line.startswith("options.keep.max_characters: ") and "many" in line for line in found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("world: v\ntemplates: {juge: x}\n", "templates.juge: unknown key; did you mean `judge`?"),
        ("world: v\nevaluator: {modell: x}\n", "evaluator.modell: unknown key; did you mean `model`?"),
        ("world: v\nprompts: {redteam: [{pfad: x}]}\n", "prompts.redteam.0.pfad: unknown key; did you mean `path`?"),
        ("world: v\njudge: {errors: {delays: 1}}\n", "judge.errors.delays: unknown key; did you mean `delay`?"),
        ("world: v\nmySpec: 1\n", "mySpec: unknown key"),
        ("world: v\n1: 2\n", "1: "),
        ("world: v\nscale: giant\n", "scale: "),
        ("world: v\nmethod: alchemy\n", "method: "),
        ("world: v\noptions: {stop: {rule: never}}\n", "options.stop.rule: "),
        ("world: v\noptions: {tune: {learning_rate: .nan}}\n", "options.tune.learning_rate: "),
        ("world: v\ntemplates: {strip_pattern: '('}\n", "templates.strip_pattern: no regular expression"),
        ("world: v\ntemplates: {judge: 'good? {response}'}\n", "templates.judge: lacks {prompt}"),
    ],
)
def test_a_fault_names_its_key_path(text: str, line: str) -> None:
    assert any(fault.startswith(line) for fault in faults(text)), faults(text)


@pytest.mark.parametrize("text", ["", "[]", "words", "7", "a: [", "a: b: c", "\x00", "&a [*a]"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert caught.value.cure


def test_what_refers_to_a_world_needs_one() -> None:
    found = faults("templates: world\n")
    keys = {line.split(":")[0] for line in found}
    assert keys == {"target.model", "oracle.model", "evaluator", "prompts.redteam", "prompts.helpful", "templates"}
    assert parse_spec(FILES).evaluator != "world"
    assert {line.split(":")[0] for line in faults(FILES + "judge: {model: world}\n")} == {"judge.model"}
    roles = "judge: {model: openai/a}\nproposer: {model: openai/b}\n"
    assert parse_spec(FILES.replace("oracle: {model: openai/x}\n", roles)).oracle.model == "world"


def test_defaults_survive_their_own_yaml() -> None:
    spec = parse_spec("world: village\n")
    assert parse_spec(yaml.safe_dump(spec.model_dump(mode="json"))) == spec
    assert spec == Spec(world="village")


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert parse_spec("world: v\noptions: {tune: {learning_rate: 1e-4}}\n").options.tune.learning_rate == 1e-4


def test_changes_set_one_key_and_leave_the_rest() -> None:
    text = list_recipes()["iteralign"].read_text(encoding="utf-8")
    before = parse_spec(text)
    after = parse_spec(change_spec(text, {"seed": "3", "options.replay.ratio": "1.5", "budget.calls": "null"}))
    assert (after.seed, after.options.replay.ratio, after.budget.calls) == (3, 1.5, None)
    assert after.options.keep == before.options.keep
    assert after.scale == before.scale
    assert change_spec(text, {}) == text


def test_a_change_within_a_shipped_scale_keeps_its_other_numbers() -> None:
    text = list_recipes()["iteralign"].read_text(encoding="utf-8")
    scale = parse_spec(change_spec(text, {"scale.answer_tokens": "64"})).scale
    assert scale == parse_spec(text).scale.model_copy(update={"answer_tokens": 64})


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("world: v\n", {"seed": "[", "method": "x"}),
        ("world: v\n", {"sead": "3"}),
        ("world: v\n", {"seed.deep": "3"}),
        ("[]\n", {"seed": "3"}),
        ("words\n", {"seed": "3"}),
        ("a: [\n", {"seed": "3"}),
    ],
)
def test_a_wrong_change_is_a_fault_of_the_spec(text: str, changes: dict[str, str]) -> None:
    with pytest.raises(SpecError):
        change_spec(text, changes)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"world: caf\xe9\n")
    for name in ("latin.yaml", "none.yaml", "."):
        with pytest.raises(SpecError) as caught:
            read_spec(tmp_path / name)
        assert name in str(caught.value)
    (tmp_path / "good.yaml").write_text("world: καφές\n", encoding="utf-8")
    spec, text = read_spec(tmp_path / "good.yaml")
    assert (spec.world, text) == ("καφές", "world: καφές\n")


keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["options", "draw", "batch", "oracle", "model", "templates", "scale", "x", "prompts"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.dictionaries(st.sampled_from([*Spec.model_fields, "extra"]), keys, max_size=4))
def test_anything_is_a_spec_or_a_list_of_faults(value: dict[str, object]) -> None:
    faults: tuple[str, ...] = ()
    try:
        assert parse_spec(yaml.safe_dump(value, allow_unicode=True)).version == 1
    except SpecError as error:
        faults = error.faults
    assert all(": " in fault for fault in faults)


def test_what_learning_from_preferences_does_not_do_is_refused() -> None:
    text = "method: rlhf\nworld: village\ntemplates: world\n"
    for again, learn, refused in (
        ("replay", "{algorithm: rloo}", True),
        ("replay", "{algorithm: rloo, rloo: {warm_up: 5}}", True),
        ("replay", "{algorithm: dpo, replay: 0}", True),
        ("replay", "{algorithm: dpo}", False),
        ("both", "{algorithm: rloo, rloo: {warm_up: 5}}", False),
        ("step", "{algorithm: dpo, replay: 0}", False),
        ("null", "{algorithm: rloo}", False),
    ):
        asked = f"{text}options: {{gates: {{retry_with: {again}, retries: 1}}, learn: {learn}}}"
        if refused:
            assert "options.gates.retry_with: there is no replay" in str(faults(asked))
        else:
            assert parse_spec(asked).options.gates.retries == 1
    assert "options.learn.rloo.batch: must be" in str(faults(f"{text}options: {{learn: {{rloo: {{batch: 9}}}}}}"))


def test_an_evaluator_that_is_missing_is_named_with_the_line_to_write() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec("version: 1\ntarget: {model: a/b}\noracle: {model: c/d}\n")
    assert any("evaluator: is missing" in line and "`evaluator: {model:" in line for line in caught.value.faults)
    with pytest.raises(SpecError, match="evaluator: refers to a test world"):
        parse_spec("version: 1\nevaluator: world\n")


@pytest.mark.parametrize("role", ["target", "oracle"])
def test_replicas_without_a_command_that_serves_are_refused(role: str) -> None:
    with pytest.raises(SpecError, match="serve_replicas: is for the servers that `serve` starts"):
        parse_spec(f"version: 1\nworld: village\n{role}: {{model: ./weights, serve_replicas: 2}}")


def test_a_list_of_sources_may_hold_the_world_where_there_is_one() -> None:
    listed = "prompts: {redteam: [{path: a.jsonl}, world]}\n"
    assert isinstance(parse_spec(f"version: 1\nworld: village\n{listed}").prompts.redteam, tuple)
    with pytest.raises(SpecError, match=r"prompts\.redteam: refers to a test world"):
        parse_spec(f"version: 1\n{listed}")
