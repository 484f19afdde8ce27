"""The control that tunes on replay alone: the rows of a finished demo less its revisions, the same tuner, the same
scores."""

from __future__ import annotations

import json
from typing import Any

from charter import spec as specs
from charter.ports import AnsweredItem
from charter.records.record import Step
from charter.records.training_rows import Example
from charter.stages.benchmark_items import ask_questions
from charter.wiring import role_models
from charter.wiring.components import Components
from evidence.cells import RUNS, Cell, done, records


def replay_only(seed: int) -> dict[str, Any]:
    """Figures on held-out after tuning on the replay rows of the demo's first iteration, and nothing else."""
    kept = RUNS / "controls" / f"replay-only-{seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    cell = Cell(f"demo/seed{seed}", changes={"seed": str(seed)})
    before = done(cell)["before"]
    rows = [Example.model_validate(r) for r in records(cell, "001/rows") if r["origin"] != "revision"]
    assembly = Components(specs.read_spec(cell.directory / "spec.yaml")[0])
    folder = RUNS / "controls" / f"replay-only-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    policy = role_models.build_tuner(assembly.spec, folder / ".tuning").tune(
        assembly.start, rows, folder, Step("001/policy", seed).seed("tune") % 2**31
    )
    benchmark, step = assembly.build_evaluators(None)["heldout"], Step("final/heldout", seed)
    with assembly.open_engine(policy) as target:
        exchanges = list(ask_questions(benchmark.questions(), target, assembly.method_inputs().answers, step=step))
    answered = [AnsweredItem.from_exchange(exchange) for exchange in exchanges]
    after = {s.id: s for s in benchmark.scores(answered, list(benchmark.grade(answered)))}
    figures: dict[str, Any] = {"name": f"controls/replay-only-{seed}", "rows": len(rows)}
    for metric, score in after.items():
        if before.get(metric):
            figures[f"{metric} before"] = round(before[metric]["value"], 4)
            figures[f"{metric} after"] = None if score.value is None else round(score.value, 4)
            figures[f"{metric} n"] = score.n
    kept.write_text(json.dumps(figures), encoding="utf-8")
    return figures
