"""Methods side by side: told runs with known figures, and methods that are run first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charter import cli
from charter.errors import SpecError
from charter.reports import run_comparison as comparing
from charter.reports.method_comparison import MethodComparison, compare_methods
from charter.reports.method_comparison_page import difference_rows, figure_rows, render_comparison_page
from tests.fakes.recorded_run import SPEC, Tale, tell

SHORT = """\
version: 1
method: iteralign
world: village
templates: world
scale: organism
prompts: {gate: 2, heldout: 2}
options:
  draw: {batch: 12, later: 8}
  contrast: {count: 0}
  measure: {efficacy: false, breadth: false}
  replay: {ratio: 0, fresh: 0, lookalikes: false}
  keep: {exempt_openings: ["sorry , i will not help"]}
  tune: {learning_rate: 0.003, epochs: 1}
  stop: {iterations: 1}
  gates: {roll_back: false}
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two methods with a run for each of two seeds; the second method ends better on every metric."""
    place = tmp_path_factory.mktemp("sides")
    ends = {"plain": (0.5, 0.5), "better": (1.0, 0.75)}
    return {
        name: [
            tell(place / name / str(seed), Tale(spec=f"{SPEC}seed: {seed}\n", outcomes=(0.25, after)))
            for seed, after in enumerate(shares)
        ]
        for name, shares in ends.items()
    }


@pytest.fixture(scope="module")
def found(folders: dict[str, list[Path]]) -> MethodComparison:
    return compare_methods(list(folders.items()))


def test_seeds_stand_together(found: MethodComparison) -> None:
    plain, better = found.sides
    assert (plain.name, len(plain.runs), plain.finished) == ("plain", 2, 2)
    assert plain.quality["harmlessness"].before is not None
    assert plain.quality["harmlessness"].before.value == 0.25
    ended = better.quality["harmlessness"].after
    assert (ended.least, ended.value, ended.most, ended.seeds) == (0.75, 0.875, 1.0, 2)
    assert better.quality["harmlessness"].change == pytest.approx(0.625)
    assert better.costs["oracle calls, aligning"].least > 0
    assert found.measured_otherwise == ()


def test_differences_are_of_the_same_prompts_and_seeds(found: MethodComparison) -> None:
    harm = next(d for d in found.differences if d.metric == "harmlessness")
    assert (harm.first, harm.second, harm.seeds) == ("plain", "better", 2)
    assert harm.value == pytest.approx(0.375)
    assert -1 <= harm.low < harm.value < harm.high <= 1
    assert all(d.p <= d.p_holm <= 1 for d in found.differences)


def test_a_side_is_the_same_as_itself(folders: dict[str, list[Path]]) -> None:
    same = compare_methods([("one", folders["plain"]), ("other", folders["plain"])])
    assert same.differences
    assert all(d.value == 0 and d.p == 1 for d in same.differences)


def test_what_was_measured_otherwise_is_not_compared(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    other = tell(tmp_path / "other", Tale(version="bench@2"))
    told = compare_methods([*folders.items(), ("other", [other])])
    assert told.measured_otherwise == ("other",)
    assert {d.first for d in told.differences} | {d.second for d in told.differences} == {"plain", "better"}
    assert "Measured otherwise" in render_comparison_page(told)


def test_a_difference_that_nearly_all_prompts_show_is_sure(tmp_path: Path) -> None:
    """Two prompts of forty that do not change make the interval no wider than a share can be, and the p no greater."""
    pair = [tell(tmp_path / name, Tale(outcomes=(0.25, after))) for name, after in (("low", 0.05), ("high", 1.0))]
    told = compare_methods([("low", [pair[0]]), ("high", [pair[1]])])
    assert {d.n for d in told.differences} == {40}
    for d in told.differences:
        assert 0.75 < d.low < d.value == 0.95 < d.high <= 1
        assert d.p < 1e-9


def test_what_is_not_the_same_on_all_sides_is_said(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    another = tell(tmp_path / "another", Tale(spec=f"{SPEC}seed: 7\ntarget: {{model: elsewhere}}\n"))
    open_ = tell(tmp_path / "open", Tale(finished=False))
    told = compare_methods([("plain", folders["plain"]), ("another", [another]), ("open", [open_])])
    assert any("not the same model" in note for note in told.notes)
    assert "plain and another have no seed in common, and are not compared" in told.notes
    assert "open: 1 of 1 runs are not finished" in told.notes
    assert told.measured_otherwise == ()
    assert "no seed in common" in render_comparison_page(told)
    assert not compare_methods(list(folders.items())).notes


def test_a_side_has_one_run_for_each_seed(tmp_path: Path) -> None:
    pair = [tell(tmp_path / name) for name in ("one", "other")]
    with pytest.raises(SpecError, match="more than one run with the seed 0"):
        compare_methods([("both", pair)])


def test_an_audit_is_compared_by_an_audit(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    audit = tell(tmp_path / "audit", Tale(spec=SPEC.replace("iteralign", "audit") + "audit: {baseline: runs/first}\n"))
    with pytest.raises(SpecError, match="is an audit"):
        compare_methods([("audit", [audit]), ("plain", folders["plain"])])
    with pytest.raises(SpecError, match="is an audit"):
        comparing.compare_runs([audit, folders["plain"][0]])


def test_costs_and_differences_are_drawn(found: MethodComparison) -> None:
    shown = render_comparison_page(found)
    assert "oracle calls, aligning: mean over seeds" in shown
    assert "lines that people wrote: mean over seeds" in shown
    assert "better - plain, harmlessness" in shown


def test_changes_are_refused_where_nothing_is_run(
    folders: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = folders["plain"]
    assert compare(one, other, "--set", "seed=5") != 0
    assert "--set changes what is run" in " ".join(capsys.readouterr().err.split())
    assert compare(one, folders["better"][0], "--out", tmp_path / "page", "--json") == 0
    assert json.loads(capsys.readouterr().out)["differences"]
    assert (tmp_path / "page" / "compare.html").exists()
    assert compare(one, other) == 0
    assert "lines that people wrote" in capsys.readouterr().out


def test_names_are_hostile_text(folders: dict[str, list[Path]]) -> None:
    shown = render_comparison_page(
        compare_methods([("<script>alert(1)</script>", folders["plain"]), ("b|c", folders["better"])])
    )
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_tables_have_a_column_for_each_side(found: MethodComparison) -> None:
    rows = {row[0]: row[1:] for row in figure_rows(found)}
    assert rows["harmlessness, after"] == ("50.0%", "87.5% (75.0% to 100.0%)")
    assert rows["lines that people wrote"] == ("0", "0")
    assert difference_rows(found)[1][0] == "better - plain"


def compare(*words: object) -> int:
    """A command in this process."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", *map(str, words)])
    return int(stop.value.code or 0)


@pytest.mark.slow
def test_methods_are_run_first_and_not_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick, bad = tmp_path / "quick.yaml", tmp_path / "replayless.yaml"
    quick.write_text(SHORT)
    bad.write_text(SHORT.replace("batch: 12", "batch: 16"))
    asked = (quick, bad, "--seeds", "0,1", "--out", tmp_path / "runs", "--quiet")
    assert compare(*asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [side["finished"] for side in told["sides"]] == [2, 2]
    assert (tmp_path / "runs" / "quick" / "1" / "HEAD").exists()
    assert "harmlessness" in (tmp_path / "runs" / "compare.html").read_text()
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "runs").rglob("journal.jsonl"))]
    assert compare(*asked) == 0
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "runs").rglob("journal.jsonl"))] == stamps
    capsys.readouterr()
    assert compare(tmp_path / "runs" / "quick", tmp_path / "runs" / "replayless", "--markdown", "--out", tmp_path) == 0
    assert capsys.readouterr().out.startswith("|  | quick | replayless |")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["nothing-there"], "nothing-there"), (["iteralign", "--seeds", "one"], "list of numbers")],
)
def test_what_cannot_be_compared_is_said(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(*words, "--out", tmp_path / "x") != 0
    assert said in capsys.readouterr().err


def test_a_folder_without_runs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert compare(tmp_path / "empty", "--out", tmp_path / "x") != 0
    assert "holds no run" in capsys.readouterr().err
