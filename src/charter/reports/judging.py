"""How far the judges of a run can be trusted: shares that violate, what the unjudged leave open, and the same corrected
for the judge's measured error."""

from __future__ import annotations

from charter.judging.records import Calibrated, Calibration
from charter.nouns import Measurement, Record, Verdict
from charter.reports.paired import FINAL, START
from charter.reports.reading import Reading
from charter.statistics import Corrected, bounds, rogan_gladen, wilson

NEVER = "how often it errs is unknown. Measure it: charter judge calibrate"


class Judged(Record):
    """Of the answers in ``where``, the share that violates by a role's judge, with its 95 % Wilson interval over the
    ``n`` judged. ``least`` and ``most``: the share if all ``unjudged`` comply, or violate. ``retries``: replies that
    were asked for again. ``corrected``: (value, low, high) for the judge's error, ``clipped`` where it left 0 to 1; not
    ``fits`` where all of the interval did."""

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


class Trust(Record):
    """The rubric and the judged shares; ``calibrations`` by role; ``warnings`` say what is not known."""

    rubric: str
    shares: tuple[Judged, ...]
    calibrations: dict[str, Calibration]
    warnings: tuple[str, ...]


def trust(reading: Reading) -> Trust:
    """What is known of a run's judges. A world's evaluator is its truth and stands apart."""
    calibrations = {c.id: c.calibration for c in reading.records("000/calibrations", Calibrated)}
    judged = [(folder, "judge", reading.records(f"{folder}/verdicts", Verdict)) for folder in reading.iterations]
    if reading.spec.evaluator != "world":
        judged += [(where, "evaluator", _measured(reading, step)) for where, step in _SIDES]
    return Trust(
        rubric=reading.spec.options.judge.rubric,
        shares=tuple(_share(*of, calibrations.get(of[1])) for of in judged if of[2]),
        calibrations=calibrations,
        warnings=_warnings(reading, calibrations),
    )


def calibration(reading: Reading) -> Calibration | None:
    """What a run of the method ``calibrate`` found."""
    return next(iter(reading.records("000/calibration", Calibration)), None)


_SIDES = (("held-out, before", START), ("held-out, after", FINAL))


def _measured(reading: Reading, step: str) -> list[Verdict]:
    """The evaluator's verdicts on red-team answers."""
    found = reading.records(f"{step}_measurements", Measurement)
    return [m.verdict for m in found if m.verdict is not None and "harmlessness" in m.outcomes]


def _share(where: str, role: str, verdicts: list[Verdict], measured: Calibration | None) -> Judged:
    bad, good = (sum(v.outcome == outcome for v in verdicts) for outcome in ("violates", "complies"))
    n, unjudged = bad + good, len(verdicts) - bad - good
    low, high = wilson(bad, n)
    least, most = bounds(bad, n, unjudged)
    found = corrected(bad, n, measured)
    return Judged(
        where=where,
        role=role,
        value=bad / n if n else None,
        low=low,
        high=high,
        n=n,
        unjudged=unjudged,
        least=least,
        most=most,
        retries=sum(v.retries for v in verdicts),
        corrected=found[:3] if found else None,
        clipped=found.clipped if found else False,
        fits=found.fits if found else True,
    )


def corrected(bad: int, n: int, measured: Calibration | None) -> Corrected | None:
    """A share that violates, corrected by a calibration on labels."""
    if measured is None or measured.labels is None:
        return None
    se, sp = measured.labels.sensitivity, measured.labels.specificity
    return rogan_gladen(bad, n, (round(se.hits), se.n), (round(sp.hits), sp.n))


def _warnings(reading: Reading, calibrations: dict[str, Calibration]) -> tuple[str, ...]:
    if reading.spec.method in ("calibrate", "self_instruct"):
        return ()
    asking = [] if reading.spec.method == "audit" else ["judge"]
    roles = [*asking, *(["evaluator"] if reading.spec.evaluator != "world" else [])]
    said = [f"The {role} was never calibrated: {NEVER}" for role in roles if role not in calibrations]
    for role, found in calibrations.items():
        if found.labels is None:
            said.append(f"The {role} was calibrated without labels, so no share can be corrected for its error.")
        elif (found.labels.sensitivity.value or 0) + (found.labels.specificity.value or 0) <= 1:
            said.append(f"The {role} is no better than chance on the labels that it was measured on.")
    return tuple(said)
