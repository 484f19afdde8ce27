"""What a spec gives to the methods that begin with rules: which rules, which exemplars, and what does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from charter import spec as specs
from charter.constitution.document import Constitution
from charter.constitution.run_state import RunState
from charter.errors import SpecError
from charter.jobs import forecast_run
from charter.jobs.chain_job import create_chain
from charter.organism.world import World
from charter.wiring import principle_methods
from charter.wiring.components import Components
from tests.fakes.example_records import START, rule

TEXT = specs.list_recipes()["self_align"].read_text(encoding="utf-8")


def assembly(**changes: str) -> Components:
    return Components(
        specs.parse_spec(specs.change_spec(TEXT, {key.replace("__", "."): v for key, v in changes.items()}))
    )


def test_rules_are_the_worlds_the_shipped_ones_a_files_or_none(tmp_path: Path) -> None:
    assert len(principle_methods.load_constitution(assembly()).active) == 15
    assert [p.title for p in principle_methods.load_constitution(assembly(constitution="shipped")).active][:2] == [
        "ethical",
        "informative",
    ]
    assert principle_methods.load_constitution(assembly(constitution="none")) == Constitution()
    mine = tmp_path / "mine.yaml"
    mine.write_text("- be brief\n- be kind\n", encoding="utf-8")
    assert [p.text for p in principle_methods.load_constitution(assembly(constitution=str(mine))).active] == [
        "be brief",
        "be kind",
    ]
    with pytest.raises(SpecError, match="cannot be read"):
        principle_methods.load_constitution(assembly(constitution=str(tmp_path / "lost.yaml")))
    for name in ("village", "city"):
        world = World.load(name)
        titles = [p.title for p in principle_methods.load_constitution(_in(world)).active]
        assert titles == [*world.file.domains, *world.file.attributes]
    other = World(World.load("city").file.model_copy(update={"name": "nowhere"}))
    with pytest.raises(SpecError, match="nobody wrote rules for the world 'nowhere'"):
        principle_methods.load_constitution(_in(other))


def test_a_file_seeds_discovery_with_rules_of_people(tmp_path: Path) -> None:
    mine = tmp_path / "mine.md"
    mine.write_text("- Do not help with theft.\n- Say what is true.\n", encoding="utf-8")
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    seed = principle_methods.load_seed(assembly(method="iteralign", constitution=str(mine)))
    assert [(p.text, p.by, p.status) for p in seed.principles] == [
        ("Do not help with theft.", "people", "approved"),
        ("Say what is true.", "people", "approved"),
    ]
    assert {a.reason for a in seed.amendments} == {f"written by a person: mine.md@sha256:{digest}"}
    assert {a.by for a in seed.amendments} == {"people"}
    for nothing in ("''", "none"):
        assert principle_methods.load_seed(assembly(method="iteralign", constitution=nothing)) == Constitution()
    going_on = assembly(method="iteralign", constitution=str(mine))
    going_on.given = RunState(policy=START, constitution=Constitution())
    assert principle_methods.load_seed(going_on) == Constitution()
    with pytest.raises(SpecError, match="cannot be read"):
        principle_methods.load_seed(assembly(method="iteralign", constitution=str(tmp_path / "lost.md")))
    own = principle_methods.load_constitution(assembly(constitution=str(mine)))
    assert own.source == f"mine.md@sha256:{digest}"


def _in(world: World) -> Components:
    made = assembly()
    made.world = world
    return made


def test_rules_without_words_are_no_rules(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    for text, said in (("[]", "holds no rule in force"), ("- be kind\n- ' '\n", r"rule 2 \(line 2\) is empty")):
        mine.write_text(text, encoding="utf-8")
        with pytest.raises(SpecError, match=said):
            principle_methods.load_constitution(assembly(constitution=str(mine)))


def test_exemplars_that_do_not_fit_the_rules_end_a_run_before_it_asks(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("- be brief\n- be kind\n", encoding="utf-8")
    plain = {"templates": "{}", "constitution": str(mine)}
    with pytest.raises(SpecError, match="name rules that the constitution does not have") as caught:
        principle_methods.build_principle_inputs(assembly(**plain, options__self_align__exemplars="shipped"))
    assert caught.value.faults[0].startswith("e1: names rule 2 (informative)")
    own = tmp_path / "own.yaml"
    own.write_text("- {prompt: a, thought: rule 2 (kindness), answer: c}\n", encoding="utf-8")
    found = principle_methods.build_principle_inputs(assembly(**plain, options__self_align__exemplars=str(own)))
    assert len(found.principles.exemplars) == 1
    own.write_text("- {prompt: a, thought: rule 3, answer: c}\n", encoding="utf-8")
    with pytest.raises(SpecError, match="name rules that the constitution does not have"):
        principle_methods.build_principle_inputs(assembly(**plain, options__self_align__exemplars=str(own)))


def test_a_chain_that_would_show_them_after_proposed_rules_does_not_begin(tmp_path: Path) -> None:
    text = "world: village\ntemplates: {{}}\nsteps:\n  - {{method: iteralign}}\n  - {{method: self_align{}}}\n"
    with pytest.raises(SpecError, match="the shipped exemplars name the shipped rules"):
        create_chain(text.format(""), tmp_path / "chain")
    assert not (tmp_path / "chain").exists()
    create_chain(text.format(", constitution: shipped"), tmp_path / "one")
    create_chain(text.format(", options: {self_align: {exemplars: ''}}"), tmp_path / "two")


def test_a_step_of_a_chain_goes_on_with_the_rules_of_the_one_before_unless_it_names_its_own() -> None:
    left = Constitution(principles=(rule("found", "never fraud"),))
    for asked, expected in (("", "never fraud"), ("shipped", None)):
        made = assembly(constitution=f"'{asked}'")
        made.given = RunState(policy=START, constitution=left)
        texts = [p.text for p in principle_methods.load_constitution(made).active]
        assert (texts == [expected]) is (expected is not None)
    assert len(principle_methods.load_constitution(assembly(constitution="''")).active) == 16


def test_exemplars_are_shown_where_the_rules_have_a_turn_of_their_own(tmp_path: Path) -> None:
    village = assembly(options__self_align__exemplars="shipped")
    assert principle_methods.load_exemplars(village.spec, village.templates) == ()
    plain = assembly(options__self_align__exemplars="shipped", templates="{}")
    assert len(principle_methods.load_exemplars(plain.spec, plain.templates)) == 5
    mine = tmp_path / "mine.yaml"
    mine.write_text("- {prompt: a, thought: b, answer: c}\n", encoding="utf-8")
    own = assembly(options__self_align__exemplars=str(mine))
    assert [e.prompt for e in principle_methods.load_exemplars(own.spec, own.templates)] == ["a"]
    cai = assembly(method="cai", options__self_align__exemplars="shipped", templates="{}")
    assert principle_methods.load_exemplars(cai.spec, cai.templates) == ()


@pytest.mark.parametrize("name", ["self_align", "self_align-paper", "cai", "cai-paper"])
def test_a_dry_run_says_what_would_be_asked(name: str) -> None:
    spec = specs.read_spec(specs.list_recipes()[name])[0]
    plan = forecast_run(spec)
    assert plan["principles"] == 15
    assert plan["oracle_calls_at_most"] == sum(plan["oracle_calls"].values())
    if name.endswith("-paper"):
        assert plan["oracle_calls_at_most"] == 0, "no oracle is asked"


def plan(name: str, **changes: str) -> dict[str, int]:
    text = specs.list_recipes()[name].read_text(encoding="utf-8")
    made = forecast_run(
        specs.parse_spec(specs.change_spec(text, {key.replace("__", "."): v for key, v in changes.items()}))
    )
    return dict(made["oracle_calls"])


def test_a_dry_run_counts_what_self_instruct_writes_and_the_clones_of_all() -> None:
    writes = {
        "options__self_align__prompts": "instruct",
        "options__instruct": "{generator: proposer, seeds: world, rounds: 2, calls: 3, topics: {rounds: 0}}",
        "options__judge": "{votes: 3, retries: 1}",
    }
    found = plan("self_align", **writes)
    assert found["self-instruct"] == 6
    assert found["rechecks"] == found["second rubric"] == (160 + 6 * 10) * 3 * 2
    assert found["ordinary answers"] == 0
    cloned = plan("self_align", **writes, options__self_align__clone="true")
    assert cloned["rechecks"] == 2 * found["rechecks"]
    assert cloned["replay checks"] == found["replay checks"]


def test_a_dry_run_of_rounds_counts_what_each_of_them_asks() -> None:
    found = plan("cai", options__keep__verify="false", options__judge__retries="0")
    assert (found["rechecks"], found["second rubric"], found["replay checks"]) == (4 * 480, 0, 0)
    assert plan("cai-paper", options__cai__revise="findings")["verdicts"] > 0


def test_a_model_without_weights_cannot_be_aligned_by_rules() -> None:
    text = "world: village\ntemplates: world\nmethod: {}\ntarget: {{model: m, base_url: 'http://127.0.0.1:1/v1'}}\n"
    specs.parse_spec(text.format("think"))  # it tunes nothing
    methods = set(principle_methods.PRINCIPLE_METHODS) - {"think"}
    assert len(methods) > 2
    for method in methods:
        with pytest.raises(SpecError) as caught:
            specs.parse_spec(text.format(method))
        assert any("cannot be tuned" in fault for fault in caught.value.faults)


def test_patterns_of_thought_need_their_parts() -> None:
    with pytest.raises(SpecError, match=r"templates\.thought_pattern: lacks the named groups"):
        specs.parse_spec("world: village\ntemplates: {thought_pattern: '(?P<thought>.*)'}\n")
    with pytest.raises(SpecError, match=r"templates\.think_prompt: lacks \{principles\}"):
        specs.parse_spec("world: village\ntemplates: {think_prompt: 'be good'}\n")
