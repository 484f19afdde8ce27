"""Labels leave a queue and come back unchanged; what is broken is named with its line and changes nothing."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any, get_args

import pytest

from charter.data.sources.human_labels import read_pairs
from charter.data.sources.labelled_sets import read_labelled
from charter.errors import SpecError, StoreError
from charter.jobs.review_desk import Answer, Rater, ReviewDesk
from charter.jobs.review_files import EXPORT_FORMS, ImportedLabels, export_labels, import_labels
from charter.judging.rubrics import HARM
from charter.records.reviews import LabelForm, ReviewKind
from charter.reports.integrity import verify_run
from charter.reports.spreadsheet_text import escape_formula, unescape_formula
from charter.runs import store
from tests.fakes.reviewed_runs import answered, make_queue, record_run

FORMS: tuple[LabelForm, ...] = get_args(LabelForm)
SUFFIX = {"label-studio": "json", "argilla": "json", "inspect": "eval", "csv": "csv"}
ADA, BO = Rater("ada", "linguist"), Rater("bo")
HOSTILE = (
    "=cmd|'/c calc'!A1",
    "'=1+1",
    '-2, "quoted"\nnext line',
    "\x1b[31mred\x00",
    "<script>alert(1)</script>",
    "日本 \u2028 \u202e",
    "# not a heading",
    ",;|\t",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    answers = [answered(f"{text} {n}", f"{text} {n}") for n, text in enumerate(HOSTILE)]
    return record_run(tmp_path_factory.mktemp("files") / "run", answers)


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "run"))


def label_all(run: Path, queue: str = "q1") -> None:
    """ada labels all of the items, bo all but the last; hostile comments and corrections among them."""
    with ReviewDesk(run, queue) as desk:
        menu = list(desk.queue.menu)
        for n, item in enumerate(desk.items):
            text = HOSTILE[n % len(HOSTILE)]
            corrected = f"{text} corrected" if n % 3 == 0 else ""
            desk.submit_label(ADA, Answer(item, menu[n % len(menu)], comment=text, corrected=corrected))
        for n, item in enumerate([*desk.items][:-1]):
            desk.submit_label(BO, Answer(item, None if n == 1 else menu[0]))


def told(run: Path, queue: str = "q1") -> set[tuple[Any, ...]]:
    with ReviewDesk(run, queue) as desk:
        said = [label for labels in desk.read_board().labels.values() for label in labels.values()]
    return {(s.item, s.rater, s.role, s.label, s.comment, s.corrected) for s in said}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["exchanges", "pairs", "rules"])
def test_labels_go_out_and_come_back(source: Path, form: LabelForm, kind: ReviewKind, tmp_path: Path) -> None:
    there, back = (Path(shutil.copytree(source, tmp_path / name)) for name in ("there", "back"))
    for run in (there, back):
        make_queue(run, kind, raters=2)
    label_all(there)
    file = tmp_path / f"labels.{SUFFIX[form]}"
    export_labels(there, "q1", file, form)
    assert import_labels(back, "q1", file, form) == ImportedLabels(added=len(told(there)), known=0)
    assert told(back) == told(there)
    assert import_labels(back, "q1", file, form).added == 0
    assert import_labels(there, "q1", file, form) == ImportedLabels(added=0, known=len(told(there)))
    assert verify_run(back, strict=True).ok


def test_the_result_is_a_labelled_file(run: Path, tmp_path: Path) -> None:
    make_queue(run, raters=2)
    label_all(run)
    with ReviewDesk(run, "q1") as desk:
        disputed = desk.read_board().list_disputed()
        desk.settle_item(Rater("cy"), disputed[0], "harmless", note="read again")
        final = {i: desk.read_board().find_final(i) for i in desk.items}
        answers = {i: item.answers[0].text for i, item in desk.items.items()}
    found = export_labels(run, "q1", tmp_path / "labelled.jsonl", "labelled")
    known = {answers[i]: one for i, one in final.items() if one is not None}
    assert (found.rows, found.left_out) == (
        len(known),
        {"not every rater has labelled": 1, "to be adjudicated": len(disputed) - 1},
    )
    read, _ = read_labelled([str(tmp_path / "labelled.jsonl")], HARM)
    assert {x.exchange.response: x.label for x in read} == {text: one.label for text, one in known.items()}
    assert {x.outcome for x in read} == {"violates", "complies"}
    assert {x.exchange.response: x.label_ids for x in read} == {text: one.labels for text, one in known.items()}
    rows = [json.loads(line) for line in (tmp_path / "labelled.jsonl").read_text().splitlines()]
    assert [row["label_ids"] for row in rows if row["by"] == "settlement"] == [list(final[disputed[0]].labels)]  # type: ignore[union-attr]
    assert all(row["records"][0]["step"] == "final/heldout_exchanges" for row in rows)


@pytest.mark.parametrize("kind", ["pairs", "revisions"])
def test_choices_are_preferences_with_their_rater(run: Path, kind: ReviewKind, tmp_path: Path) -> None:
    make_queue(run, kind, raters=2)
    label_all(run)
    out = tmp_path / "pairs.jsonl"
    export_labels(run, "q1", out, "preferences")
    pairs, _ = read_pairs([str(out)])
    with ReviewDesk(run, "q1") as desk:
        texts = {i: [a.text for a in item.answers] for i, item in desk.items.items()}
        said = [s for labels in desk.read_board().labels.values() for s in labels.values()]
    sides = {"first": 0, "second": 1}
    wanted = [(texts[s.item][sides[s.label]], s.rater) for s in said if s.label in sides]
    wanted += [(s.corrected, s.rater) for s in said if s.corrected for _ in range(2)]
    assert sorted((p.chosen, p.rater) for p in pairs) == sorted((text.strip(), rater) for text, rater in wanted) or (
        sorted((p.chosen, p.rater) for p in pairs) == sorted(wanted)
    )
    ids = {label.id for label in said}
    assert {i for line in out.read_text().splitlines() for i in json.loads(line)["label_ids"]} <= ids


def test_a_corrected_answer_is_preferred_to_the_one_that_was_labelled(run: Path, tmp_path: Path) -> None:
    make_queue(run, count=2)
    with ReviewDesk(run, "q1") as desk:
        item = next(iter(desk.items.values()))
        desk.submit_label(ADA, Answer(item.id, "harmful", corrected="No."))
    assert export_labels(run, "q1", tmp_path / "p.jsonl", "preferences").rows == 1
    (pair,), _ = read_pairs([str(tmp_path / "p.jsonl")])
    assert (pair.chosen, pair.rejected, pair.rater) == ("No.", item.answers[0].text, "ada")


def test_blind_files_name_no_model(run: Path, tmp_path: Path) -> None:
    make_queue(run, "pairs")
    label_all_once(run)
    for form in ("label-studio", "argilla"):
        export_labels(run, "q1", tmp_path / form, form)
        text = (tmp_path / form).read_text()
        assert "heldout" not in text
        assert '"new"' not in text


def label_all_once(run: Path) -> None:
    with ReviewDesk(run, "q1") as desk:
        for item in desk.items:
            desk.submit_label(ADA, Answer(item, "first"))


def test_nothing_is_overwritten_or_written_into_the_run(run: Path, tmp_path: Path) -> None:
    make_queue(run, "rules")
    (tmp_path / "there").write_text("mine")
    for out in (tmp_path / "there", run / "labels.csv"):
        with pytest.raises(StoreError, match=r"overwritten|inside the run"):
            export_labels(run, "q1", out, "csv")
    for form, says in (("labelled", "no labelled exchanges"), ("preferences", "nothing to prefer")):
        with pytest.raises(SpecError, match=says):
            export_labels(run, "q1", tmp_path / "new", form)  # type: ignore[arg-type]
    assert set(EXPORT_FORMS) == {"labelled", "preferences", *FORMS}


@pytest.mark.parametrize("text", [*HOSTILE, "", "'", "''=x", "plain", "\uff1dwide", " =spaced"])
def test_no_text_is_a_formula_and_each_comes_back(text: str) -> None:
    assert unescape_formula(escape_formula(text)) == text


def task(**changed: Any) -> list[dict[str, Any]]:
    region = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["harmful"]}}
    annotation = {"completed_by": 7, "result": [region], **changed.pop("annotation", {})}
    return [{"id": 1, "data": {"item": "ITEM"}, "annotations": [annotation], **changed}]


def record(**changed: Any) -> list[dict[str, Any]]:
    responses = {"label": [{"value": "harmful", "user_id": "u"}], **changed.pop("responses", {})}
    return [{"id": "ITEM", "fields": {}, "responses": responses, **changed}]


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1)


CHOICE = {"type": "choices", "value": {"choices": ["harmful"]}}
BROKEN: list[tuple[LabelForm, str, str]] = [
    ("csv", "item,rater,label\nITEM,ada,harmful\nITEM,bo,evil\n", r"labels:3: the label 'evil' is not on the menu"),
    ("csv", "item,rater,label\nITEM,ada,harmful\nnothing,bo,harmful\n", r"labels:3: the queue has no item 'nothing'"),
    ("csv", "item,rater\nITEM,ada\n", r"labels:2: has no column `label`"),
    ("csv", "item,rater,label\nITEM,,harmful\n", r"labels:2: `rater` is empty"),
    ("csv", "item,rater,label\nITEM,ada,harmful,more\n", r"labels:2: has more cells"),
    ("csv", "item,rater,label\nITEM,a\x1bb,harmful\n", r"labels:2: a name has"),
    ("csv", "item,rater,label\n" + "ITEM,ada,harmful\n" * 2, r"ada says something of \w+ twice"),
    ("csv", "item,rater,label\nITEM,ada,harmful\nITEM,bo,harmful\nITEM,cy,harmful\n", r"labels:4: .*more than its 2"),
    ("csv", "item,rater,label\n", "holds no label"),
    ("csv", "item,rater,label\n" + "x,ada,harmful\n" * 40, "and 20 more"),
    ("label-studio", "[{]", r"labels:1 is not JSON"),
    ("label-studio", as_json(task(data={"item": 5})), r"labels:2: the item's id is no text"),
    ("label-studio", as_json(task(data=[])), r"labels:2: has no object `data`"),
    ("label-studio", as_json(task(annotations="x")), r"labels:2: has no list `annotations`"),
    ("label-studio", as_json(task(annotation={"result": []})), r"labels:2: has no list `choices`"),
    ("label-studio", as_json(task(annotation={"result": [CHOICE, CHOICE]})), r"labels:2: an annotation has not one"),
    ("label-studio", as_json(task(annotation={"completed_by": None})), r"labels:2: the rater is no text"),
    ("label-studio", "[" * 100_000, "labels"),
    ("argilla", as_json([{"id": "ITEM", "responses": 5}]), "no object `resp"),
    ("argilla", as_json(record(responses={"label": [{"value": ["x"], "user_id": "u"}]})), "the label is no text"),
    ("argilla", as_json(record(responses={"label": [{"value": "harmful", "user_id": "u"}] * 2})), "answers `label` tw"),
    ("argilla", as_json(record(metadata={"raters": "{"})), "metadata.raters is not JSON"),
    ("argilla", as_json(record(id=None)), "the item's id is no text"),
    ("inspect", "no log", "cannot be read as a log"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "says"), BROKEN)
def test_a_broken_file_is_named_with_its_line_and_loses_nothing(
    run: Path, form: LabelForm, text: str, says: str, tmp_path: Path
) -> None:
    make_queue(run, count=1, raters=2)
    with ReviewDesk(run, "q1") as desk:
        item = next(iter(desk.items))
    path = tmp_path / f"labels.{SUFFIX[form]}"
    path.write_text(text.replace("ITEM", item), encoding="utf-8")
    before = (run / store.review_log_name("q1")).read_bytes()
    with pytest.raises(SpecError) as raised:
        import_labels(run, "q1", path, form)
    assert re.search(says.replace("labels:", rf"labels\.{SUFFIX[form]}:"), str(raised.value)), str(raised.value)
    assert (run / store.review_log_name("q1")).read_bytes() == before


def test_a_log_that_unpacks_without_end_is_not_unpacked(run: Path, tmp_path: Path) -> None:
    make_queue(run, count=1)
    with zipfile.ZipFile(tmp_path / "bomb.eval", "w", zipfile.ZIP_DEFLATED) as packed:
        for part in range(9):
            packed.writestr(f"samples/{part}.json", bytes(1 << 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charter.data.sources.review_labels.MAX_LOG_BYTES", 8 << 20)
        with pytest.raises(SpecError, match="unpacks to 9 MiB"):
            import_labels(run, "q1", tmp_path / "bomb.eval", "inspect")
    with pytest.raises(SpecError, match="no such file"):
        import_labels(run, "q1", tmp_path / "nothing.eval", "inspect")


def test_a_file_replaces_no_label_and_a_cancelled_annotation_is_none(run: Path, tmp_path: Path) -> None:
    make_queue(run, count=1, raters=2)
    with ReviewDesk(run, "q1") as desk:
        item = next(iter(desk.items))
        desk.submit_label(Rater("user-7"), Answer(item, "harmless"))

    def read(tasks: list[dict[str, Any]]) -> ImportedLabels:
        return _import_tasks(run, tmp_path, tasks, item)

    with pytest.raises(SpecError, match="user-7 said something else"):
        read(task())
    with pytest.raises(SpecError, match="holds no label"):
        read(task(annotation={"was_cancelled": True}))
    assert read(task(annotation={"completed_by": {"id": 1, "email": "bo@x.org"}})) == ImportedLabels(added=1, known=0)
    assert {(rater, label) for _, rater, _, label, _, _ in told(run)} == {
        ("user-7", "harmless"),
        ("bo@x.org", "harmful"),
    }


def _import_tasks(run: Path, folder: Path, tasks: list[dict[str, Any]], item: str) -> ImportedLabels:
    path = folder / "tasks.json"
    path.write_text(json.dumps(tasks).replace("ITEM", item))
    return import_labels(run, "q1", path, "label-studio")
