"""Judging in tables, for the terminal and the page: (title, rows with their head)."""

from __future__ import annotations

from collections.abc import Iterator

from charter.records.calibration_results import Calibration, InjectionResistance, LabelAgreement, PairAgreement
from charter.records.measurements import Proportion
from charter.reports.judge_trust import JudgedShare, JudgeTrust

TableRows = list[tuple[str, ...]]
_DASH = "–"


def build_judging_tables(found: JudgeTrust, calibration: Calibration | None) -> Iterator[tuple[str, TableRows]]:
    """The judged shares of a run, and what its judges' calibrations, or its own, found."""
    if found.judged_shares:
        head = ("answers", "by", "violate", "n", "unjudged", "if all of these comply / violate", "asked again")
        title = f"Share that violates by the rubric {found.rubric}, with 95 % intervals"
        corrected = any(share.corrected or not share.fits for share in found.judged_shares)
        if corrected:
            title += (
                "; corrected for the error that the judge's calibration measured, as far as that held between its files"
            )
        yield (
            title,
            [head + (("corrected",) if corrected else ()), *(_judged_row(s, corrected) for s in found.judged_shares)],
        )
    named = {f" of the {role}": measured for role, measured in found.calibrations.items()}
    for whose, measured in {**named, **({"": calibration} if calibration else {})}.items():
        yield from build_calibration_tables(measured, whose)


def build_calibration_tables(found: Calibration, whose: str = "") -> Iterator[tuple[str, TableRows]]:
    """What a calibration found; ``whose`` goes into the titles."""
    about = f"Calibration{whose}: {found.judge}, rubric {found.rubric}"
    if found.labels:
        yield f"{about}. Against labels", _label_rows(found.labels)
        yield "Labelled (rows), judged (columns)", _confusion_rows(found.labels)
        if found.readings:
            yield "By reading, on the same labels; by labels with a fit that never saw them", _reading_rows(found)
        if len(found.labels.files) > 1:
            yield "By labelled file; p: that the rate is the same in all files", _files(found.labels)
    if found.pairs:
        yield f"{about}. Against preferences, each pair asked in both orders", _pair_rows(found.pairs)
    if found.injections:
        yield f"{about}. Attacks on the judge in answers that it finds to violate", _attack_rows(found.injections)


def _judged_row(share: JudgedShare, corrected: bool) -> tuple[str, ...]:
    row = (
        share.where,
        share.role,
        _interval_text(share.value, share.low, share.high),
        str(share.n),
        str(share.unjudged),
        f"{share.least:.1%} / {share.most:.1%}" if share.unjudged else _DASH,
        str(share.retries),
    )
    mended = _interval_text(*share.corrected) if share.corrected else _DASH
    if not share.fits:
        mended = "no value: the judge errs otherwise here than where it was measured"
    elif share.held is not None and share.held < 1:
        mended += f", {share.held:.0%} of the correction"
    mended += ", clipped" if share.clipped and share.fits else ""
    return (*row, mended) if corrected else row


def _label_rows(found: LabelAgreement) -> TableRows:
    kappa, ac1 = (_beyond_chance(found, name) for name in ("kappa", "ac1"))
    return [
        ("figure", "value", "n"),
        ("accuracy", *_share_cells(found.accuracy)),
        ("sensitivity: of what violates", *_share_cells(found.sensitivity)),
        ("specificity: of what complies", *_share_cells(found.specificity)),
        ("Cohen's kappa: agreement beyond chance", kappa, str(found.accuracy.n)),
        ("Gwet's AC1: the same, steady where one label is rare", ac1, str(found.accuracy.n)),
        ("unjudged, of what violates", str(found.unjudged_violating), ""),
        ("unjudged, of what complies", str(found.unjudged_complying), ""),
        *([("left out: equal to another exchange", str(found.copies), "")] if found.copies else []),
    ]


def _beyond_chance(found: LabelAgreement, name: str) -> str:
    value, low, high = (getattr(found, name + end) for end in ("", "_low", "_high"))
    return _DASH if value is None or low is None or high is None else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _reading_rows(found: Calibration) -> TableRows:
    head = ("reading", "accuracy", "balanced", "AUC", "kappa", "Youden's J", "unjudged", "prompts")
    rows = [
        (
            "probabilities of labels" if one.id == "label" else "in words",
            _share_cells(one.accuracy)[0],
            _number(one.balanced_accuracy),
            _number(one.auc),
            _number(one.kappa),
            f"{_number(one.youden)} ({_number(one.youden_low)} to {_number(one.youden_high)})",
            str(one.unjudged),
            str(one.prompts),
        )
        for one in found.readings
    ]
    fit = [("fit in use", f"{found.fit.kind}, violates from {found.fit.threshold:.3f}")] if found.fit else []
    return [head, *rows, *((*row, *[""] * (len(head) - 2)) for row in fit)]


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.2f}"


def _files(found: LabelAgreement) -> TableRows:
    def rate(hits: int, n: int) -> str:
        return f"{hits / n:.1%} of {n}" if n else _DASH

    rows = [(f.file, rate(f.caught, f.violating), rate(f.cleared, f.complying)) for f in found.files]
    ps = ["" if p is None else f"{p:.2g}" for p in (found.sensitivity_p, found.specificity_p)]
    return [("file", "sensitivity", "specificity"), *rows, ("p", *ps)]


def _confusion_rows(found: LabelAgreement) -> TableRows:
    said = sorted({label for row in found.confusion.values() for label in row})
    rows = [(known, *(str(row.get(label, 0)) for label in said)) for known, row in found.confusion.items()]
    return [("", *said), *rows]


def _pair_rows(found: PairAgreement) -> TableRows:
    return [
        ("figure", "value", "n"),
        ("accuracy (an answer that follows the order counts a half)", *_share_cells(found.accuracy)),
        *((f"accuracy: {name}", *_share_cells(of)) for name, of in found.by_category.items()),
        ("right in both orders", str(found.right), ""),
        ("wrong in both orders", str(found.wrong), ""),
        ("what stands first, in both orders", str(found.first), ""),
        ("what stands second, in both orders", str(found.second), f"p = {found.p:.2g}"),
        ("answers for what stands first (50 %: no bias)", *_share_cells(found.first_share)),
        ("pairs that lack an answer", str(found.unjudged), ""),
    ]


def _attack_rows(found: InjectionResistance) -> TableRows:
    if not found.share.n:
        return [("figure", "value", "n"), ("no answer to attack was found to violate", _DASH, "0")]
    return [
        ("figure", "value", "n"),
        ("verdicts that an attack turned", *_share_cells(found.share)),
        ("the same without an attack, asked again", *_share_cells(found.control)),
        ("held", str(found.held), ""),
        ("left unjudged", str(found.unjudged), ""),
        ("turned by", ", ".join(found.flipped) or "none", ""),
    ]


def _share_cells(share: Proportion) -> tuple[str, str]:
    return _interval_text(share.value, share.low, share.high), str(share.n)


def _interval_text(value: float | None, low: float, high: float) -> str:
    return _DASH if value is None else f"{value:.1%} ({low:.1%} to {high:.1%})"
