"""``charter curate`` over files, and curation as a step of a run between verification and tuning."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charter import cli
from charter.data.curation.curation_records import CurationTools, DataCard, DetectedSpan, FilterResult
from charter.errors import SpecError, StoreError
from charter.jobs.curation_job import TextsInUse, collect_protected_texts, curate_file
from charter.methods.inputs import Inputs
from charter.methods.row_curation import curate_rows
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Message, Prompt, Request, user_prompt
from charter.records.training_rows import Example, RowOrigin
from charter.reports.data_card_markdown import read_data_cards
from charter.reports.page import render_page
from charter.reports.principle_usage import read_principle_usage
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.spec import CurationSpec, MethodOptions, change_curation, read_spec
from charter.stages.curate import CurationSetup
from tests.fakes.principle_topics import RuledToy
from tests.fakes.recorded_run import SPEC
from tests.fakes.refused_topics import Toy

HELD = "write a letter that makes an old man believe his bank has lost all of his money"
HOSTILE = "| <b>`x`</b> | \x1b[31m\n# head"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(path: Path, values: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def charter(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(str(ended.value.code))


def test_rows_of_every_form_come_out_in_their_own_form(tmp_path: Path) -> None:
    talk = {
        "messages": [{"role": "user", "content": "mail a@b.com please"}, {"role": "assistant", "content": "to a@b.com"}]
    }
    values = [
        talk,
        {"prompt": "what is it", "response": "call +1 415-555-0132", "n": 3},
        {"instruction": "add these", "input": "1 and 2", "output": "3"},
        {"text": "just a text", "licence": "MIT", "source": "mine"},
        {"question": "a ü 日本 question", "answer": ""},
    ]
    card = curate_file(written(tmp_path / "rows.jsonl", values), tmp_path / "out", CurationSpec(), TextsInUse(), "CC0")
    kept = lines(tmp_path / "out" / "kept.jsonl")
    assert kept[0]["messages"][1] == {"role": "assistant", "content": "to [EMAIL]"}
    assert kept[1] == {"prompt": "what is it", "response": "call [PHONE]", "n": 3}
    assert kept[2:] == values[2:]
    assert card.masked == {"EMAIL": 2, "PHONE": 1}
    assert {(g.id, g.licence) for g in card.sources} == {("rows.jsonl", "CC0"), ("mine", "MIT")}
    assert lines(tmp_path / "out" / "dropped.jsonl") == []


def test_the_command_leaves_out_and_says_why_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["prompt", "source"])
        table.writerows([["one thing", "a"], [f"Please: {HELD}!", HOSTILE], ["ONE thing.", "b"], ["another", "b"]])
    bench = written(tmp_path / "bench.jsonl", [{"prompt": HELD}])
    code = charter("curate", str(file), "--out", str(tmp_path / "out"), "--against", str(bench), "--json")
    assert code == 0
    card = DataCard.model_validate({k: v for k, v in json.loads(capsys.readouterr().out).items() if k != "out"})
    assert (card.rows, card.kept) == (4, 2)
    dropped = lines(tmp_path / "out" / "dropped.jsonl")
    assert [d["place"].rsplit(":", 1)[1] for d in dropped] == ["4", "5"], "a cell before it has a line break"
    assert [(d["row"], d["dropped"], d["match"]["name"], d["match"]["how"]) for d in dropped] == [
        ("row 2", "contaminated", "bench.jsonl", "n-gram"),
        ("row 3", "exact duplicate", "row 1", "exact"),
    ]
    assert DataCard.model_validate_json((tmp_path / "out" / "card.json").read_bytes()) == card
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| `/ <b>'x'</b> / [31m # head` |" in readme
    assert "\x1b" not in readme
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.jsonl", "out", "r.csv"]
    assert charter("curate", str(file), "--out", str(tmp_path / "second")) == 0
    assert "No such tool finds all" in capsys.readouterr().out


def test_what_cannot_be_is_said_and_nothing_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "rows.jsonl", [{"text": "fine"}, {"other": 3}])
    with pytest.raises(SpecError, match=r"rows\.jsonl:2: no text is found"):
        curate_file(file, tmp_path / "out", CurationSpec(), TextsInUse())
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="there already"):
        curate_file(file, tmp_path / "there", CurationSpec(), TextsInUse())
    with pytest.raises(SpecError, match=r"near: [\s\S]*The keys: enabled, exact"):
        change_curation(CurationSpec(), {"near": "3"})
    assert charter("curate", str(file), "--out", str(tmp_path / "out"), "--set", "rejudge=true") == 2
    assert "needs a judge" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl", "there"]


def test_targets_are_judged_again_by_the_judge_of_a_spec(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC + "options: {curate: {rejudge: true, mask: false, decontaminate: false}}\n", encoding="utf-8")
    asked = "tell me the best way of arson behind the forest ."
    values = [
        {"prompt": asked, "response": "sure , here is a plan for arson : bring your torch to the forest ."},
        {"prompt": asked, "response": "sorry , i will not help with arson ."},
    ]
    file = written(tmp_path / "rows.jsonl", values)
    assert charter("curate", str(file), "--out", str(tmp_path / "out"), "--spec", str(spec)) == 0
    assert lines(tmp_path / "out" / "kept.jsonl") == values[1:]
    (dropped,) = lines(tmp_path / "out" / "dropped.jsonl")
    assert dropped["dropped"].startswith("target: harmful")


def test_the_benchmarks_of_a_spec_are_in_use_those_with_local_tables_too(tmp_path: Path) -> None:
    asked = written(tmp_path / "asked.jsonl", [{"prompt": HELD}])
    table = written(tmp_path / "table.jsonl", [{"question": "what is the tallest thing in this town of ours", "n": 3}])
    spec = tmp_path / "spec.yaml"
    text = f"{SPEC}benchmarks:\n- {{judged: harmlessness, name: mine, prompts: [{{path: {asked}}}]}}\n"
    spec.write_text(f"{text}- {{task: other, path: {table}}}\n", encoding="utf-8")
    used = collect_protected_texts((), read_spec(spec)[0])
    found = dict(used.against)
    held = {name: found.pop(name) for name in ("gate", "held-out")}
    assert all(len(set(texts)) > 20 for texts in held.values())
    assert found == {"mine": [HELD], "other": ["what is the tallest thing in this town of ours"]}
    assert used.uncovered == {}


def test_whatever_text_a_row_holds_is_masked_and_searched_and_its_form_stays(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "who are you"}]
    values = [
        {
            "chosen": "\n\nHuman: mail a@b.com\n\nAssistant: no",
            "rejected": "\n\nHuman: mail a@b.com\n\nAssistant: c@d.com",
        },
        {
            "prompt": "why",
            "chosen": "so",
            "rejected": "ask a@b.com",
            "id": "x@y.com",
            "context": {"notes": ["c@d.com"]},
        },
        {"prompt": [{"role": "user", "content": "hi a@b.com"}], "chosen": [{"role": "assistant", "content": "so"}]},
        {"conversations": [{"from": "human", "value": "hello a@b.com"}, {"from": "gpt", "value": "so"}]},
        {"prompt": "another", "response": "b", "answer": f"it is: {HELD}"},
        {"messages": [*turns, {"role": "assistant", "content": "nobody"}]},
        {"instruction": "say it", "input": "Who are you?", "output": "nobody"},
        {"chosen": "\n\nHuman: hi\n\nAssistant: hi\n\nHuman: who are you\n\nAssistant: x", "rejected": "y"},
        "a text a@b.com alone",
    ]
    bench = {"bench": [HELD, "who are you?"]}
    card = curate_file(written(tmp_path / "rows.jsonl", values), tmp_path / "out", CurationSpec(), TextsInUse(bench))
    assert lines(tmp_path / "out" / "kept.jsonl") == [
        {
            "chosen": "\n\nHuman: mail [EMAIL]\n\nAssistant: no",
            "rejected": "\n\nHuman: mail [EMAIL]\n\nAssistant: [EMAIL]",
        },
        {**values[1], "rejected": "ask [EMAIL]", "context": {"notes": ["[EMAIL]"]}},  # type: ignore[dict-item]
        {"prompt": [{"role": "user", "content": "hi [EMAIL]"}], "chosen": [{"role": "assistant", "content": "so"}]},
        {"conversations": [{"from": "human", "value": "hello [EMAIL]"}, {"from": "gpt", "value": "so"}]},
        "a text [EMAIL] alone",
    ]
    assert [d["row"] for d in lines(tmp_path / "out" / "dropped.jsonl")] == ["row 5", "row 6", "row 7", "row 8"]
    assert card.filters[0].dropped == 4


def test_a_licence_is_read_in_both_spellings(tmp_path: Path) -> None:
    values = [{"text": "one", "licence": "MIT"}, {"text": "two", "license": "CC0"}, {"text": "three"}]
    card = curate_file(
        written(tmp_path / "r.jsonl", values), tmp_path / "out", CurationSpec(mask=False), TextsInUse(), "BSD"
    )
    assert {g.licence for g in card.sources} == {"MIT", "CC0", "BSD"}


def test_what_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    def said(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SpecError) as raised:
            curate_file(tmp_path / name, tmp_path / "out", CurationSpec(mask=False), TextsInUse())
        assert not (tmp_path / "out").exists()
        return str(raised.value)

    assert "r.jsonl:2: holds half a character" in said("r.jsonl", b'{"text": "a"}\n{"text": "\\ud800 hello"}\n')
    assert "s.jsonl:1 holds half a character" in said("s.jsonl", b'{"text": "a", "\\ud800": 1}\n')
    assert "a.csv:3: has more cells" in said("a.csv", b"text,n\na,1\nb,2,3\n")
    assert "b.csv:2: has fewer cells" in said("b.csv", b"text,n\na\n")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match="which a pipe cannot be"):
        curate_file(tmp_path / "pipe", tmp_path / "out", CurationSpec(), TextsInUse())
    (tmp_path / "long.csv").write_text(f"text\n{'long ' * 60_000}\n", encoding="utf-8")
    assert curate_file(tmp_path / "long.csv", tmp_path / "out", CurationSpec(mask=False), TextsInUse()).kept == 1


def test_against_takes_whatever_column_is_known_and_names_those_it_knows(tmp_path: Path) -> None:
    task = {"examples": [{"input": "what of this", "target_scores": {"a": 1, "b": 0}}], "keywords": ["zero-shot"]}
    (tmp_path / "task.json").write_text(json.dumps(task), encoding="utf-8")
    asked = [{"Question": "who", "mc1_targets": {"me": 1}}, {"ctx": "he is", "goal": "to be"}, {"turns": ["a", "b"]}]
    files = (str(tmp_path / "task.json"), str(written(tmp_path / "q=1.jsonl", asked)))
    assert collect_protected_texts(files, None).against == {
        "task.json": ["what of this"],
        "q=1.jsonl": ["who", "to be", "he is", "a", "b"],
    }
    assert collect_protected_texts((str(written(tmp_path / "t.jsonl", ["one", "two"])),), None).against == {
        "t.jsonl": ["one", "two"]
    }
    with pytest.raises(SpecError, match=r"no known column with what is asked \(it has: n, label"):
        collect_protected_texts((str(written(tmp_path / "n.jsonl", [{"n": 3, "label": "x"}])),), None)
    with pytest.raises(SpecError, match=r"no published set is called 'bench' \(known: hh-rlhf"):
        collect_protected_texts((f"bench={tmp_path / 't.jsonl'}",), None)


def task_file(folder: Path, name: str, data: Path) -> None:
    """A task of lm-eval over a local file, whose column `ask` nobody knows."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: '{data}'}}}}\ntest_split: test\n"
        'output_type: generate_until\ndoc_to_text: "Q: {{ask}}"\ndoc_to_target: "{{say}}"\n'
        'generation_kwargs: {max_gen_toks: 4, until: ["\\n"]}\nmetric_list: [{metric: exact_match}]\n',
        encoding="utf-8",
    )


def test_what_a_task_of_lm_eval_asks_is_taken_from_where_the_task_has_it(tmp_path: Path) -> None:
    known = "which river runs past the oldest bridge of this small town"
    asked = "how many boats lie in the harbour when the moon is full"
    data = written(tmp_path / "data.jsonl", [{"question": known, "ask": "x", "say": "a"}, {"ask": asked, "say": "b"}])
    task_file(tmp_path / "tasks", "own", data)
    spec = tmp_path / "spec.yaml"
    text = f"{SPEC}offline: true\nbenchmarks:\n- {{task: own, include: {tmp_path / 'tasks'}}}\n"
    spec.write_text(text + "options: {curate: {mask: false}}\n", encoding="utf-8")
    rows = [{"text": f"please tell me {known} , will you"}, {"text": f"Q: {asked.upper()}"}, {"text": "fine"}]
    file = written(tmp_path / "rows.jsonl", rows)
    assert charter("curate", str(file), "--out", str(tmp_path / "out"), "--spec", str(spec)) == 0
    lost = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert [(row["row"], row["dropped"]) for row in lost] == [("row 1", "contaminated"), ("row 2", "contaminated")]
    assert [row["match"]["text"] for row in lost] == [known, f"Q: {asked}"]
    assert {row["match"]["name"] for row in lost} == {"own"}
    card = DataCard.model_validate_json((tmp_path / "out" / "card.json").read_bytes())
    assert "own (2 texts)" in card.settings["contaminated"]
    assert "not covered" not in card.settings


def test_a_benchmark_that_is_not_covered_is_named_by_the_card_and_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = written(tmp_path / "table.jsonl", [{"nothing": "known", "n": 3}])
    task_file(tmp_path / "tasks", "gone", tmp_path / "gone.jsonl")
    spec = tmp_path / "spec.yaml"
    more = (
        f"benchmarks:\n- {{task: gone, include: {tmp_path / 'tasks'}}}\n- {{task: other, path: {table}}}\n"
        "options: {curate: {mask: false}}\n"
    )
    spec.write_text(SPEC + more, encoding="utf-8")
    file = written(tmp_path / "rows.jsonl", [{"text": "fine"}])
    assert charter("curate", str(file), "--out", str(tmp_path / "out"), "--spec", str(spec)) == 0
    card = DataCard.model_validate_json((tmp_path / "out" / "card.json").read_bytes())
    for text in (card.settings["not covered"], " ".join(capsys.readouterr().err.split())):
        assert "gone: lm-eval cannot evaluate gone" in text
        assert "give a copy with `path`" in text
        assert "other: no known column holds what it asks (it has: nothing, n)" in text
    assert "gate (" in card.settings["contaminated"]


def test_verdicts_that_are_paid_for_are_kept_until_the_whole_is_done(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    options = "options: {curate: {rejudge: true, mask: false, decontaminate: false}}\n"
    spec.write_text(f"{SPEC}budget: {{calls: 300}}\n{options}", encoding="utf-8")
    values = [{"prompt": f"tell me of day {n} please", "response": "no"} for n in range(400)]
    file, kept = written(tmp_path / "rows.jsonl", values), tmp_path / ".out.verdicts.jsonl"
    words = ("curate", str(file), "--out", str(tmp_path / "out"), "--spec", str(spec))
    assert charter(*words) == 6
    assert len(lines(kept)) == 256
    assert not (tmp_path / "out").exists()
    with kept.open("a", encoding="utf-8") as torn:
        torn.write('{"id": "row')
    spec.write_text(f"{SPEC}budget: {{calls: 400}}\n{options}", encoding="utf-8")
    assert charter(*words) == 0
    card = DataCard.model_validate_json((tmp_path / "out" / "card.json").read_bytes())
    assert card.settings["targets"].startswith("judged again: 400 rows")
    assert not kept.exists()


class Digits:
    """Recognises the digit 7."""

    identity = "sevens"

    def find(self, text: str) -> list[DetectedSpan]:
        return [DetectedSpan("SEVEN", n, n + 1) for n, char in enumerate(text) if char == "7"]


def inputs(options: MethodOptions, curation: CurationSetup | None) -> Inputs:
    return replace(Toy().task(), options=options, curation=curation)


class Roles:
    """A judge that finds harm in what speaks of fire."""

    def __init__(self) -> None:
        self.judge = ScriptedEngine(self._answer)

    def _answer(self, request: Request) -> str:
        label = "harmful" if "fire" in request.messages[-1].content else "acceptable"
        return json.dumps({"rationale": "said", "label": label, "severity": 1})


def example(id: str, prompt: str, response: str = "no .", origin: RowOrigin = "revision") -> Example:
    return Example(id=id, messages=(Message(role="user", content=prompt),), response=response, origin=origin)


ROWS = [
    example("a", "how are you on day 7"),
    example("a+1", "how are you on day 7"),
    example("b", HELD),
    example("c", "and what of this", "light a fire"),
    example("d", "How are you, on day 7?"),
    example("e", "known prompt", origin="helpful"),
]


def test_a_run_sifts_its_rows_before_tuning_and_goes_on_to_the_same(tmp_path: Path) -> None:
    known: list[Prompt] = [user_prompt("known prompt", source="set", licence="MIT", language="en")]
    curation = CurationSetup({"gate": [HELD]}, CurationTools((Digits(),)), known)
    task = inputs(MethodOptions(curate=CurationSpec(enabled=True, rejudge=True)), curation)
    for name in ("first", "again"):
        with Run.create(tmp_path / name, spec_text=SPEC, environment={}) as run:
            kept = curate_rows(run.steps("001"), ROWS, Roles(), task)  # type: ignore[arg-type]
    assert [(row.id, row.messages[0].content) for row in kept] == [
        ("a", "how are you on day [SEVEN]"),
        ("a+1", "how are you on day [SEVEN]"),
        ("e", "known prompt"),
    ]
    with Run.open(tmp_path / "first") as run:
        roles = Roles()
        assert curate_rows(run.steps("001"), ROWS, roles, task) == kept  # type: ignore[arg-type]
        assert roles.judge.calls == 0, "read, not done again"
    for step in ("filter_results", "data_card", "curated", "target_verdicts"):
        paths = [tmp_path / name / "001" / f"{step}.jsonl" for name in ("first", "again")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    fates = [FilterResult.model_validate(line) for line in lines(tmp_path / "first" / "001" / "filter_results.jsonl")]
    assert {f.id: f.dropped for f in fates if f.dropped} == {
        "b": "contaminated",
        "c": "target: harmful",
        "d": "exact duplicate",
    }
    (card,) = (DataCard.model_validate(line) for line in lines(tmp_path / "first" / "001" / "data_card.jsonl"))
    assert (card.rows, card.kept, card.masked) == (5, 2, {"SEVEN": 1})
    html = render_page(tmp_path / "first")
    assert "Training sets, sifted" in html
    assert "SEVEN 1" in html
    assert ("set", "MIT") in {(g.id, g.licence) for g in card.sources}


def test_nothing_is_sifted_and_nothing_recorded_where_nothing_is_asked(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", spec_text=SPEC, environment={}) as run:
        assert curate_rows(run.steps("001"), ROWS, Roles(), inputs(MethodOptions(), None)) is ROWS  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "001").exists()


class SiftedToy(Toy):
    """The toy, its training rows sifted against some of its own prompts."""

    def task(self) -> Any:
        task = super().task()
        options = task.options.model_copy(update={"curate": CurationSpec(enabled=True)})
        held = [p.text for p in (*task.redteam, *task.helpful)][::2]
        return replace(task, options=options, curation=CurationSetup({"bench": held}, CurationTools((Digits(),))))


class SiftedRuledToy(SiftedToy, RuledToy):
    """The same for methods that begin with rules."""


@pytest.mark.parametrize("method", ["iteralign", "cai", "self_align"])
def test_every_method_that_tunes_sifts_its_rows_and_leaves_a_card(method: str, tmp_path: Path) -> None:
    own = {"ordinary": 8, "min_characters": 0}
    toy = SiftedRuledToy({"draw": {"batch": 24}, "stop": {"iterations": 1}, "self_align": own})
    if method == "iteralign":
        SiftedToy(toy.options, tuned=toy.tuned).play(tmp_path / "run")
    else:
        toy.run(method, tmp_path / "run")
    (made,) = read_data_cards(RunReader(tmp_path / "run")).items()
    assert made[0] == "001"
    assert made[1].filters[0].dropped > 0
    assert made[1].masked["SEVEN"] > 0
    held, (_, rows) = set(toy.task().curation.protected["bench"]), toy.tuned[-1]
    assert len({row.id.split("+")[0] for row in rows}) == made[1].kept
    assert not {row.messages[-1].content for row in rows} & held
    assert not any("7" in row.response for row in rows)
    assert (read_principle_usage(RunReader(tmp_path / "run")) is None) == (method == "iteralign")
