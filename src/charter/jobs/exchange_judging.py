"""A judge that is asked about exchanges without a run: nothing is kept but what is returned."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.chat import Exchange
from charter.records.record import Step
from charter.records.verdicts import Verdict
from charter.spec import Spec
from charter.stages.judge import judge
from charter.wiring import role_models
from charter.wiring.calibrations import load_calibrations
from charter.wiring.offline import block_network


def judge_exchanges_of(exchanges: Sequence[Exchange], spec: Spec) -> list[Verdict]:
    """What the judge of a spec says of exchanges, in their order; with what its calibration learnt, where the spec
    names one. Raises SpecError, EngineError."""
    asked, judging, world = spec.judge or spec.oracle, spec.options.judge, role_models.load_world(spec)
    rubric, templates = role_models.load_rubric(judging), role_models.build_templates(spec, world)
    known = load_calibrations(spec, rubric, templates, world)
    fit = next((found.calibration.fit for found in known if found.id == "judge"), None)
    with (
        block_network(spec.offline),
        role_models.open_oracle(spec, asked, world, rubric) as engine,
    ):
        fitted = rubric.model_copy(update={"fit": fit})
        said = judge(exchanges, engine, fitted, templates, judging, step=Step("judge", spec.seed))
        verdicts = {verdict.id: verdict for verdict in said}
    return [verdicts[exchange.id] for exchange in exchanges]
