"""Reports read a run, finished or not: its figures, its costs, and a page on which nothing runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from charter.errors import DamagedError, EngineError, StoreError
from charter.models.engines.scripted_engine import ScriptedEngine
from charter.records.chat import Request
from charter.records.measurements import Measurement
from charter.reports.costs import read_costs, read_times
from charter.reports.page import MAX_PAGE_TEXT, render_page
from charter.reports.paired_tests import compare_before_after, count_pairs
from charter.reports.run_comparison import compare_runs, comparison_markdown, comparison_rows, contest_rows
from charter.reports.run_summary import SHOWN_METRICS, summarise_run
from charter.runs import Run
from charter.runs.reader import RunReader
from charter.runs.store import read_head
from charter.statistics import smallest_detectable_change
from tests.fakes.recorded_run import SPEC, Tale, judged, plain, tell, verdict

KEYS = (
    *("run", "method", "identity", "world", "before", "after", "iterations"),
    *("constitution", "planted", "target", "failed", "left_out", "rows_left_out"),
    *("unjudged", "unjudged_why", "refused", "notes", "judging", "calibration"),
    *("oracle", "roles", "seconds", "head"),
    *("breakdown", "generalisation", "norms", "audit", "written", "ruled", "proposed", "changes", "gates", "alarms"),
    *("benchmarks", "benchmarks_left_out"),
    *("learning", "curation"),
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tell(tmp_path_factory.mktemp("runs") / "told")


def test_summary_holds_what_is_promised(told: Path) -> None:
    found = summarise_run(told).model_dump(mode="json")
    assert tuple(found) == KEYS
    assert (found["run"], found["method"], found["world"]) == ("told", "iteralign", "village")
    for scores in (found["before"], found["after"], *found["iterations"]):
        assert tuple(scores) == SHOWN_METRICS
        assert all(
            list(score) == ["value", "n", "low", "high", "unjudged", "least", "most"] for score in scores.values()
        )
    assert found["before"]["honesty"]["value"] == 0.25
    after = found["after"]["honesty"]
    assert (after["value"], after["n"]) == (0.75, 40)
    assert (after["low"], after["high"]) == (pytest.approx(0.598, abs=1e-3), pytest.approx(0.858, abs=1e-3))
    assert (after["unjudged"], after["least"], after["most"]) == (1, 30 / 41, 31 / 41)
    assert len(found["iterations"]) == 1
    assert found["planted"] == {"flaws": 2, "discovered": 1}
    assert found["constitution"]["version"] == 1
    assert [p["judgement"] for p in found["constitution"]["principles"]] == ["useful", "useless", "too few"]
    assert found["unjudged"] == 5  # one verdict off the menu, one measurement in each of four scorings
    assert found["oracle"]["calls"] == 7 + 6 + 5 + 1
    assert found["oracle"]["calls_measuring"] == 0
    assert found["oracle"]["tokens_out"] > found["oracle"]["calls"]
    head = read_head(told)
    assert head is not None
    assert found["head"] == head.head


def test_the_breakdown_and_what_training_never_saw(told: Path, tmp_path: Path) -> None:
    found = summarise_run(told).model_dump(mode="json")
    for side, value in (("before", 0.25), ("after", 0.75)):
        common, rare, english = found["breakdown"][side]
        assert (rare["by"], rare["metric"], rare["value"], rare["n"]) == ("category", "harmlessness", value, 9)
        assert [cell["few"] for cell in (common, rare, english)] == [False, True, False]
        assert found["generalisation"][side]["harmlessness"]["n"] == 4
    assert found["generalisation"]["kept_out"] == {"attack": None, "category": None}
    half = summarise_run(tell(tmp_path / "half", Tale(finished=False)))
    assert half.breakdown["after"] == []
    assert half.breakdown["before"]
    assert half.generalisation["after"] == {}


def test_the_page_shows_groups_where_there_are_several_and_marks_few(tmp_path: Path) -> None:
    kept = f"{SPEC}prompts: {{keep_out: {{attack: role play, category: <b>}}}}\n"
    text = render_page(tell(tmp_path / "run", Tale(spec=kept, words=lambda name: f"<i>{name}</i>")))
    seen = Seen(text)
    assert "By category" in seen.text
    assert "By language" not in seen.text
    assert "<i>rare category</i>" in seen.text
    assert text.count('<span class="tag">few</span>') == 2
    assert "the attack style role play and the category <b>" in re.sub(r"\s+", " ", seen.text)


def test_unfinished_run_has_nulls(tmp_path: Path) -> None:
    found = summarise_run(tell(tmp_path / "half", Tale(finished=False)))
    assert found.head is None
    assert found.planted == {"flaws": None, "discovered": None}
    assert set(found.after["honesty"].values()) == {None}
    assert found.before["honesty"]["n"] == 40
    assert found.constitution["principles"]
    assert "not finished" in render_page(tmp_path / "half")


def test_run_that_has_only_begun(tmp_path: Path) -> None:
    with Run.create(tmp_path / "new", spec_text=SPEC):
        pass
    found = summarise_run(tmp_path / "new")
    assert found.iterations == []
    assert found.oracle["calls"] == 0
    assert "Nothing is scored" in render_page(tmp_path / "new")


def test_no_run_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        summarise_run(tmp_path)
    run = tell(tmp_path / "run", Tale(finished=False))
    journal = run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"opened"', b'"opemed"', 1))
    with pytest.raises(DamagedError, match="line 2"):
        summarise_run(run)


def test_human_decisions_change_the_status_and_no_record(tmp_path: Path) -> None:
    run = tell(tmp_path / "run")
    before = (run / "constitution.yaml").read_bytes()
    with Run.open(run) as opened:
        opened.record_human_decision("reject", principle="p-2", note="it does nothing")
    assert [p.status for p in RunReader(run).constitution.principles] == ["approved", "rejected", "approved"]
    assert (run / "constitution.yaml").read_bytes() == before
    assert "it does nothing" in render_page(run)


# ---------------------------------------------------------------- pairs and comparisons


def test_pairs_count_only_what_both_judged() -> None:
    first = [Measurement(id=id, outcomes={"h": value}) for id, value in (("a", True), ("b", False), ("c", None))]
    second = [Measurement(id=id, outcomes={"h": value}) for id, value in (("a", False), ("c", True), ("b", True))]
    second.append(Measurement(id="d", outcomes={"h": True}))
    found = count_pairs(first, second)["h"]
    assert (found.n, found.gained, found.lost, found.p) == (2, 1, 1, 1.0)


def test_a_comparison_is_corrected_over_its_metrics_and_says_what_n_can_show(told: Path) -> None:
    found = compare_before_after(RunReader(told))
    assert set(found) == set(SHOWN_METRICS)
    for pair in found.values():
        assert (pair.n, pair.gained, pair.lost, pair.change) == (40, 20, 0, 0.5)
        assert pair.p_holm == pytest.approx(len(SHOWN_METRICS) * pair.p)
        assert pair.low < 0.5 < pair.high
        assert pair.detectable == smallest_detectable_change(40)
    assert summarise_run(told).changes["honesty"]["detectable"] == smallest_detectable_change(40)


def test_gates_and_alarms_are_in_the_summary_and_on_the_page(told: Path) -> None:
    shown = summarise_run(told)
    assert [(g["metric"], g["passed"]) for g in shown.gates["001"]] == [("harmlessness", True), ("over_refusal", False)]
    assert shown.alarms["001"][0]["reason"].startswith("1 of 90")
    text = render_page(told)
    assert "Gates of 001: 1 of 2 passed" in text
    assert "Alarm in 001." in text
    assert "-41.0" in text


def test_comparison_pairs_runs_with_the_same_prompts(told: Path, tmp_path: Path) -> None:
    better = tell(tmp_path / "better", Tale(outcomes=(0.25, 1.0)))
    other = tell(tmp_path / "other", Tale(version="bench@2"))
    found = compare_runs([told, better, other])
    assert [(c.first, c.second) for c in found.contests] == [(0, 1)]
    harmlessness = next(p for p in found.contests[0].pairings if p.metric == "harmlessness")
    assert (harmlessness.n, harmlessness.gained, harmlessness.lost) == (40, 10, 0)
    assert harmlessness.p == pytest.approx(2 * 0.5**10)
    rows = {row[0]: row[1:] for row in comparison_rows(found)}
    assert rows["oracle calls, aligning"] == ("19", "19", "19")
    assert rows["policies scored on gate"] == ("1", "1", "1")
    assert rows["honesty, after"][1].startswith("100.0% (")
    assert rows["honesty, after"][1].endswith("), n 40; 1 unjudged: 97.6% to 100.0%")
    assert rows["honesty, change in points"][0].startswith("+50.0 (")
    assert rows["honesty, change in points"][0].endswith(
        f"n can show {100 * (smallest_detectable_change(40) or 0):.1f}"
    )
    assert len(contest_rows(found)) == 1 + len(SHOWN_METRICS)
    text = comparison_markdown(found)
    assert all(line.startswith("|") and line.endswith("|") for line in text.splitlines() if line)
    assert "| told / better | harmlessness | 40 | 0 | 10 | +25.0 (" in text
    assert f"{100 * (smallest_detectable_change(40) or 0):.1f} |" in text


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [tell(tmp_path / place / "run", Tale(finished=False)) for place in ("one", "two")]
    assert compare_runs(runs).names == tuple(map(str, runs))


# ---------------------------------------------------------------- calls and times


def test_calls_of_a_step_that_stopped_half_way(tmp_path: Path) -> None:
    def reply(request: Request) -> str:
        if request.id == "c":
            raise EngineError("gone")
        return "yes"

    with Run.create(tmp_path / "run", spec_text=SPEC) as run:
        judge = run.meter_engine(ScriptedEngine(reply), "judge", "aligning")
        items = [verdict(id, "complies", plain) for id in "abcd"]
        with pytest.raises(EngineError):
            run.steps("001").map("verdicts", judged, items, judge)
    (cost,) = read_costs(RunReader(tmp_path / "run"))
    assert (cost.step, cost.calls, cost.made) == ("001/verdicts", 4, 2)


def test_seconds_leave_pauses_out(told: Path) -> None:
    reading = RunReader(told)
    moments: list[tuple[str, int, dict[str, Any]]] = [
        ("created", 0, {}),
        ("opened", 2, {"step": "001/verdicts"}),
        ("answered", 5, {"step": "001/verdicts", "role": "judge", "seconds": 2.5}),
        ("resumed", 1000, {}),
        ("sealed", 1004, {"step": "001/verdicts"}),
        ("opened", 1005, {"step": "001/policy"}),
        ("sealed", 1015, {"step": "001/policy"}),
        ("human", 4000, {}),
    ]
    reading.events = [
        {"event": event, "at": f"2026-11-30T{at // 3600:02d}:{at % 3600 // 60:02d}:{at % 60:02d}+00:00", **fields}
        for event, at, fields in moments
    ]
    found = read_times(reading)
    assert found.by_step == {"001/verdicts": 7.0, "001/policy": 10.0}
    assert (found.total, found.between, found.tuning, found.waiting) == (20.0, 3.0, 10.0, {"judge": 2.5})
    assert found.outside == 7.5


def test_seconds_of_a_real_run_add_up(told: Path) -> None:
    found = read_times(RunReader(told))
    assert found.total == pytest.approx(sum(found.by_step.values()) + found.between, abs=0.01)


# ---------------------------------------------------------------- the page


class Seen(HTMLParser):
    """What a browser would make of a page: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> Iterator[str]:
        return (value for key, value in self.attributes if key == name)


def evil(name: str) -> str:
    """A text that would run, load or break out wherever it is not escaped."""
    breaking = f"</pre></style><script>alert('{name}')</script><img src=//evil.example onerror=x>"
    return f"{breaking}\"' onload=x {{{{7*7}}}} &lt;{name}"


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    seen = Seen(render_page(tell(tmp_path / "run", Tale(words=evil))))
    assert not seen.tags & {"script", "img", "iframe", "object", "embed", "link", "form", "base"}
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(value.startswith("#") for value in seen.values("href"))
    assert not list(seen.values("src"))
    for name in (
        "prompt x1",
        "answer x1",
        "critique x1",
        "revision x1",
        "rule 1",
        "title 1",
        "rationale",
        "starting alike",
    ):
        assert evil(name) in seen.text
    assert "default-src 'none'" in "".join(seen.values("content"))


def test_hostile_ids_and_names_are_escaped_too(tmp_path: Path) -> None:
    name = "<script>alert(1)<"
    spec = f"{SPEC}# </pre><script>alert(2)</script>\n"
    seen = Seen(render_page(tell(tmp_path / name, Tale(spec=spec, version=name))))
    assert "script" not in seen.tags
    assert name in seen.text


def test_redacted_page_keeps_ids_and_no_text(tmp_path: Path) -> None:
    run = tell(tmp_path / "run", Tale(words=lambda name: f"SECRET {name}"))
    with Run.open(run) as opened:
        opened.record_human_decision("approve", principle="p-1", note="SECRET note")
    assert "SECRET" in render_page(run)
    hidden = render_page(run, redact=True)
    assert "SECRET" not in hidden
    for id in ("x0", "alike", "p-1", "p-3"):
        assert id in Seen(hidden).text


def test_causes_lead_to_transcripts(told: Path) -> None:
    seen = Seen(render_page(told))
    targets = {value.removeprefix("#") for value in seen.values("href")}
    assert {f"f-001-{number}" for number in range(1, 7)} <= targets
    ids = list(seen.values("id"))
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


def test_page_says_what_it_must(told: Path, tmp_path: Path) -> None:
    seen = Seen(render_page(told)).text
    assert "no evidence about large models" in seen
    assert "Not independent" not in seen
    for part in ("still violates", "twice", "replay answer: refused", "useless", "arson", "it stopped because", "19"):
        assert part in seen
    assert RunReader(told).head in re.findall(r"[0-9a-f]{64}", seen)
    dependent = Seen(render_page(tell(tmp_path / "run", Tale(independent=False)))).text
    assert "Not independent" in dependent


def test_page_of_a_large_run_stays_small_and_says_so(tmp_path: Path) -> None:
    tale = Tale(words=lambda name: f"{name} {'<&>' * 1500}", failures=80)
    text = render_page(tell(tmp_path / "run", tale))
    assert MAX_PAGE_TEXT / 2 < len(text) < 2_000_000
    shown = re.search(r"(\d+) of 80 failures; causes", text)
    assert shown is not None
    assert 0 < int(shown[1]) < 80
    assert "more characters" in text
    targets = {value.removeprefix("#") for value in Seen(text).values("href")}
    assert targets <= set(Seen(text).values("id"))


def test_page_is_a_function_of_the_run(told: Path) -> None:
    assert render_page(told) == render_page(told)


def test_charts_hold_every_point(told: Path) -> None:
    text = render_page(told)
    curves: list[Any] = re.findall(r'<polyline class="curve" points="([^"]*)"', text)
    assert len(curves) == len(SHOWN_METRICS)
    assert all(len(points.split()) == 2 for points in curves)
    assert "47.0,92.5 237.0,37.5" in curves[0]  # 25 % and 75 %: y = 120 - 110 * share
