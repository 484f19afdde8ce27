"""Whether the judges of a run can tell harm from its absence: by their calibrations, else by a probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charter.errors import UnprovenError
from charter.judging.probe_exchanges import PROBED_RUBRICS, load_probe_exchanges
from charter.records.calibration_results import Calibration, JudgeProbe, RoleCalibration
from charter.spec import PROGRAM_PREFIX, OracleSpec, Spec
from charter.statistics import LEAST_YOUDEN, Counted, YoudenJ, youden_j
from charter.wiring.classifier_roles import covers

if TYPE_CHECKING:
    from charter.runs import Run
    from charter.wiring.components import Components

JUDGELESS = ("engrave",)
"""Methods that ask no judge."""
UNSCORED = ("think",)
"""Methods that ask no evaluator."""
CURE = (
    "Take a stronger judge, read it by probabilities (options.judge.read: label), or measure it: charter judge "
    "calibrate --read both. To begin all the same: {role}.unproven: true."
)


def find_judges(spec: Spec) -> dict[str, OracleSpec]:
    """Who judges, by role. An evaluator that is the judge itself is not tried twice."""
    judge = spec.judge or spec.oracle
    roles = {} if spec.method in JUDGELESS else {"judge": judge}
    if spec.evaluator != "world" and spec.method not in UNSCORED:
        told = [(asked.model, asked.base_url, asked.classifiers) for asked in (spec.evaluator, judge)]
        same = "judge" in roles and told[0] == told[1]
        roles |= {} if same else {"evaluator": spec.evaluator}
    return roles


def check_calibrations(spec: Spec, calibrations: Sequence[RoleCalibration]) -> None:
    """Nothing, where every calibration on labels shows discrimination. Raises UnprovenError."""
    asked = {"judge": spec.judge or spec.oracle}
    asked |= {"evaluator": spec.evaluator} if spec.evaluator != "world" else {}
    for found in calibrations:
        j = measure_calibration(found.calibration)
        if j is not None and j.low < LEAST_YOUDEN and not asked[found.id].unproven:
            raise UnprovenError(
                f"the calibration of the {found.id} shows no discrimination: Youden's J {j.value:.2f} "
                f"({j.low:.2f} to {j.high:.2f}); its lower end must reach {LEAST_YOUDEN:g}",
                CURE.format(role=found.id),
            )


def measure_calibration(calibration: Calibration) -> YoudenJ | None:
    """Youden's J of a calibration; None where it had no labels of both kinds."""
    if calibration.labels is None:
        return None
    se, sp = calibration.labels.sensitivity, calibration.labels.specificity
    return youden_j(Counted(round(se.hits), se.n), Counted(round(sp.hits), sp.n))


def skip_probe(spec: Spec, role: str, asked: OracleSpec) -> str:
    """Why a judge without a calibration is not probed; empty where it is."""
    if asked.unproven:
        return f"the {role} is not probed: {role}.unproven is true"
    if spec.world:
        return f"the {role} is not probed: the test world speaks a language of its own"
    if asked.model.startswith(PROGRAM_PREFIX) and not asked.classifiers:
        return f"the {role} is not probed: it is a program of your own"
    if spec.options.judge.rubric not in PROBED_RUBRICS:
        return f"the {role} is not probed: the shipped exchanges are labelled for harm and refusal, not by your rubric"
    return ""


def count_probe_calls(components: Components) -> dict[str, int]:
    """Exchanges that each judge would be probed on."""
    known = {found.id for found in components.calibrations}
    roles = find_judges(components.spec)
    probed = [role for role in roles if role not in known and not skip_probe(components.spec, role, roles[role])]
    return dict.fromkeys(probed, len(load_probe_exchanges()))


def prove_judges(components: Components, run: Run) -> list[str]:
    """Tries every judge, before anything else is asked: a line about each. Raises UnsupportedError."""
    from charter.methods.judge_probe import ProbeInputs, check_labels, probe_judge

    spec, known, lines = components.spec, {found.id for found in components.calibrations}, []
    for role, asked in find_judges(spec).items():
        calibrated = role in known
        by_label = spec.options.judge.read == "label" or covers(asked, components.rubric_of(role))
        if not calibrated and (reason := skip_probe(spec, role, asked)):
            if asked.model != "world":
                lines.append(reason)
            continue
        if calibrated and not by_label:
            continue
        with components.lend_oracle(run, asked) as engine:
            metered = run.meter_engine(engine, role, "measuring", components.prices[role])
            rubric = components.rubric_of(role)
            inputs = ProbeInputs(role, metered, rubric, components.templates, spec.options.judge)
            if calibrated:
                check_labels(run, inputs)
            else:
                lines.append(weigh_probe(probe_judge(run, inputs)))
    return lines


def weigh_probe(probe: JudgeProbe) -> str:
    """What a probe saw, as a line; it warns of a judge that chance would match. So few exchanges stop no run."""
    j = youden_j(Counted(probe.caught, probe.violating), Counted(probe.cleared, probe.complying))
    assert j is not None
    if j.value > 0 and j.low < LEAST_YOUDEN:
        interval = f"{j.value:.2f} ({j.low:.2f} to {j.high:.2f})"
        return f"{probe.line}. It may be little better than chance: Youden's J {interval}"
    return probe.line
