"""How far the judges of a run can be trusted: shares that violate, what the unjudged leave open, and the same corrected
for the judge's measured error."""

from __future__ import annotations

from collections.abc import Sequence

from charter.records.calibration_results import Calibration, JudgeProbe, LabelAgreement, RoleCalibration
from charter.records.measurements import Measurement
from charter.records.record import Record
from charter.records.verdicts import Verdict
from charter.reports.paired_tests import FINAL_STEP, START_STEP
from charter.runs.reader import RunReader
from charter.spec import Spec
from charter.statistics import CorrectedShare, FileRates, correct_share, drop_copies, share_bounds, wilson

UNCALIBRATED_NOTE = "how often it errs is unknown. Measure it: charter judge calibrate"

ONE_SIDED_CURE = "Give exchanges of both kinds; calibrate.limit (--limit) draws whatever kind comes."

UNLIKE_P = 0.05
"""A rate differs between labelled files where the test of homogeneity gives less."""


class JudgedShare(Record):
    """Of the answers in ``where``, one to each text, the share that violates by a role's judge, with its 95 % Wilson
    interval over the ``n`` judged. ``least`` and ``most``: the share if all ``unjudged`` comply, or violate.
    ``retries``: replies that were asked for again. ``corrected``: (value, low, high) for the judge's error, ``clipped``
    where it left 0 to 1; none where not ``fits``: the judge errs otherwise here. ``held``: how much of the correction
    held between the labelled files, and was made."""

    where: str
    role: str
    value: float | None
    low: float
    high: float
    n: int
    unjudged: int
    least: float
    most: float
    retries: int
    corrected: tuple[float, float, float] | None = None
    clipped: bool = False
    fits: bool = True
    held: float | None = None


class JudgeTrust(Record):
    """The rubric and the judged shares; ``calibrations`` by role; ``warnings`` say what is not known."""

    rubric: str
    judged_shares: tuple[JudgedShare, ...]
    calibrations: dict[str, Calibration]
    warnings: tuple[str, ...]


def read_judge_trust(reading: RunReader) -> JudgeTrust:
    """What is known of a run's judges. A world's evaluator is its truth and stands apart."""
    calibrations = {c.id: c.calibration for c in reading.records("000/calibrations", RoleCalibration)}
    judged = [(folder, "judge", reading.records(f"{folder}/verdicts", Verdict)) for folder in reading.iterations]
    if reading.spec.evaluator != "world":
        judged += [(where, "evaluator", _evaluator_verdicts(reading, step)) for where, step in _HELDOUT_STEPS]
    return JudgeTrust(
        rubric=reading.spec.options.judge.rubric,
        judged_shares=tuple(_judged_share(*of, calibrations.get(of[1])) for of in judged if of[2]),
        calibrations=calibrations,
        warnings=(*_calibration_warnings(reading, calibrations), *_cut_warnings(reading, judged)),
    )


def _cut_warnings(reading: RunReader, judged: list[tuple[str, str, Sequence[Verdict]]]) -> list[str]:
    """How many answers the classifier of each role read in part, in all that it judged."""
    known = [*judged, ("000", "judge", reading.records("000/verdicts", Verdict))]
    said = []
    for role in sorted({role for _, role, _ in known}):
        verdicts = [v for _, by, found in known if by == role for v in found]
        if cut := sum(v.cut > 0 for v in verdicts):
            said.append(f"The {role} read {cut} of {len(verdicts)} answers in part: they are longer than it reads.")
    return said


def read_own_calibration(reading: RunReader) -> Calibration | None:
    """What a run of the method ``calibrate`` found."""
    return next(iter(reading.records("000/calibration", Calibration)), None)


_HELDOUT_STEPS = (("held-out, before", START_STEP), ("held-out, after", FINAL_STEP))


def _evaluator_verdicts(reading: RunReader, step: str) -> list[Verdict]:
    """The evaluator's verdicts on red-team answers."""
    found = reading.records(f"{step}_measurements", Measurement)
    return [m.verdict for m in found if m.verdict is not None and "harmlessness" in m.outcomes]


def _judged_share(where: str, role: str, answers: Sequence[Verdict], measured: Calibration | None) -> JudgedShare:
    verdicts = drop_copies(answers)
    bad, good = (sum(v.outcome == outcome for v in verdicts) for outcome in ("violates", "complies"))
    n, unjudged = bad + good, len(verdicts) - bad - good
    low, high = wilson(bad, n)
    least, most = share_bounds(bad, n, unjudged)
    found = correct_by_calibration(bad, n, measured)
    return JudgedShare(
        where=where,
        role=role,
        value=bad / n if n else None,
        low=low,
        high=high,
        n=n,
        unjudged=unjudged,
        least=least,
        most=most,
        retries=sum(v.retries for v in answers),
        corrected=found[:3] if found and found.fits else None,
        clipped=found.clipped if found else False,
        fits=found.fits if found else True,
        held=found.held if found and found.fits else None,
    )


def correct_by_calibration(bad: int, n: int, measured: Calibration | None) -> CorrectedShare | None:
    """A share that violates, corrected by a calibration on labels."""
    if measured is None or measured.labels is None:
        return None
    se, sp = measured.labels.sensitivity, measured.labels.specificity
    whole = FileRates(round(se.hits), se.n, round(sp.hits), sp.n)
    files = [FileRates(f.caught, f.violating, f.cleared, f.complying) for f in measured.labels.files]
    return correct_share(bad, n, files or [whole])


def _calibration_warnings(reading: RunReader, calibrations: dict[str, Calibration]) -> tuple[str, ...]:
    if reading.spec.method == "calibrate":
        measured = read_own_calibration(reading)
        return tuple(note for note in [note_missing_kind(measured)] if note)
    if reading.spec.method == "self_instruct":
        return ()
    asking = [] if reading.spec.method == "audit" else ["judge"]
    roles = [*asking, *(["evaluator"] if reading.spec.evaluator != "world" else [])]
    if reading.spec.method == "evaluate":
        roles = ["evaluator"] if any(benchmark.judged for benchmark in reading.spec.benchmarks) else []
    roles = [role for role in roles if not knows_truth(reading.spec, role)]
    probes = {p.id: p for role in roles for p in reading.records(f"000/{role}_probe", JudgeProbe)}
    said = [f"{probe.line[0].upper()}{probe.line[1:]}." for probe in probes.values()]
    said += [f"The {role} was never calibrated: {UNCALIBRATED_NOTE}" for role in roles if role not in calibrations]
    for role, found in calibrations.items():
        if found.labels is None:
            said.append(f"The {role} was calibrated without labels, so no share can be corrected for its error.")
        elif note := note_missing_kind(found):
            said.append(f"The {role}'s calibration: {note}")
        elif (found.labels.sensitivity.value or 0) + (found.labels.specificity.value or 0) <= 1:
            said.append(f"The {role} is no better than chance on the labels that it was measured on.")
        elif list_unlike_rates(found.labels):
            said.append(
                f"The {role} errs otherwise from one labelled file to the next: {list_unlike_rates(found.labels)}."
            )
    return tuple(said)


def knows_truth(spec: Spec, role: str) -> bool:
    """Whether a role's judge is a test world's oracle that sees the whole exchange and is not told to judge wrongly: it
    judges by the world's truth, so there is no error to measure. Classifiers in its place are measured."""
    asked = spec.evaluator if role == "evaluator" else spec.judge or spec.oracle
    if asked == "world":
        return True
    errs = asked.errors.wrong_verdicts > 0 or bool(asked.classifiers)
    return asked.model == "world" and not errs and spec.options.judge.judge_input == "exchange"


def note_missing_kind(measured: Calibration | None) -> str:
    """What a calibration could not measure, since its labelled exchanges are of one kind; empty where it has both."""
    if measured is None or measured.labels is None:
        return ""
    labels = measured.labels
    if not labels.sensitivity.n + labels.unjudged_violating:
        missing = "violates, so sensitivity"
    elif not labels.specificity.n + labels.unjudged_complying:
        missing = "complies, so specificity"
    else:
        return ""
    return f"No labelled exchange {missing} was not measured. {ONE_SIDED_CURE}"


def list_unlike_rates(labels: LabelAgreement) -> str:
    """Which of a judge's two rates differ between labelled files beyond chance, with the p; empty where none does."""
    rates = {"sensitivity": labels.sensitivity_p, "specificity": labels.specificity_p}
    return ", ".join(f"{name} (p {p:.2g})" for name, p in rates.items() if p is not None and p < UNLIKE_P)
