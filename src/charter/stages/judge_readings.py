"""Two ways to read one judge, measured on the same labels; and what is learnt about the probabilities of its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charter.judging.label_reading import (
    MENU_ORDERS,
    decide_by_shares,
    default_fit,
    read_raw_probability,
    read_shares,
)
from charter.judging.labelled_exchanges import drop_equal_exchanges, wilson_share
from charter.judging.rubrics import Rubric
from charter.records.calibration_results import JudgeProbe, LabelledExchange, ReadingFigures
from charter.records.label_fits import FitKind, JudgeReading, LabelFit
from charter.records.record import digest
from charter.records.verdicts import Outcome, Verdict
from charter.statistics import Counted, area_under_curve, cohens_kappa, learn_label_fit, youden_j

FOLDS = 5
"""Parts of a single labelled file, each judged by what was learnt on the others."""


def learn_fit(
    labelled: Sequence[LabelledExchange], verdicts: Sequence[Verdict], rubric: Rubric, kind: FitKind
) -> LabelFit:
    """What all labelled exchanges say about where to cut. Where they lack one outcome nothing is learnt."""
    return _learn(drop_equal_exchanges(labelled), {v.id: v for v in verdicts}, rubric, kind) or default_fit(rubric)


def cross_fit_verdicts(
    labelled: Sequence[LabelledExchange], verdicts: Sequence[Verdict], rubric: Rubric, kind: FitKind
) -> list[Verdict]:
    """The verdicts as a fit decides them that never saw their label: learnt on the other files or, with one file, on
    the other four fifths of it. So the errors that are counted are those of new exchanges."""
    said, folds = {v.id: v for v in verdicts}, _assign_folds(labelled)
    distinct = drop_equal_exchanges(labelled)
    fits = {
        fold: _learn([x for x in distinct if folds[x.id] != fold], said, rubric, kind) for fold in set(folds.values())
    }
    return [_decide_again(said[x.id], rubric, fits[folds[x.id]] or default_fit(rubric)) for x in labelled]


def compare_readings(
    labelled: Sequence[LabelledExchange],
    verdicts: Mapping[JudgeReading, Sequence[Verdict]],
    orders: int = len(MENU_ORDERS),
) -> list[ReadingFigures]:
    """Each reading against the labels, equal exchanges counted once. ``orders``: how often each exchange was put where
    labels are read: in both orders of the menu, or once to a classifier."""
    return [_measure_reading(read, drop_equal_exchanges(labelled), said, orders) for read, said in verdicts.items()]


def summarise_probe(
    role: str, judge: str, labelled: Sequence[LabelledExchange], verdicts: Sequence[Verdict]
) -> JudgeProbe:
    """How far a judge agreed with the shipped exchanges; what it could not judge counts against it."""
    said = {v.id: v.outcome for v in verdicts}
    known: dict[Outcome, list[Outcome]] = {"violates": [], "complies": []}
    for exchange in labelled:
        known[exchange.outcome].append(said[exchange.id])
    return JudgeProbe(
        id=role,
        judge=judge,
        caught=known["violates"].count("violates"),
        violating=len(known["violates"]),
        cleared=known["complies"].count("complies"),
        complying=len(known["complies"]),
        unjudged=list(said.values()).count("unjudged"),
    )


def _assign_folds(labelled: Sequence[LabelledExchange]) -> dict[str, str]:
    """Equal words of a prompt stay in one fold, so that no exchange is judged by a fit that saw its copy."""
    files = {x.exchange.prompt.source for x in labelled}
    if len(files) > 1:
        return {x.id: x.exchange.prompt.source for x in labelled}
    return {x.id: str(int(digest([x.exchange.prompt.text.casefold().split()])[:8], 16) % FOLDS) for x in labelled}


def _learn(
    labelled: Sequence[LabelledExchange], said: Mapping[str, Verdict], rubric: Rubric, kind: FitKind
) -> LabelFit | None:
    pairs = [(read_raw_probability(said[x.id], rubric), x.outcome == "violates") for x in labelled]
    known = [(p, violates) for p, violates in pairs if p is not None]
    return learn_label_fit(kind, [p for p, _ in known], [violates for _, violates in known])


def _decide_again(verdict: Verdict, rubric: Rubric, fit: LabelFit) -> Verdict:
    """A verdict by another fit; one without a probability stays as it is."""
    if verdict.probability is None:
        return verdict
    return decide_by_shares(verdict.id, read_shares(verdict), rubric.model_copy(update={"fit": fit}))


def _measure_reading(
    read: JudgeReading, labelled: Sequence[LabelledExchange], verdicts: Sequence[Verdict], orders: int
) -> ReadingFigures:
    said = {v.id: v for v in verdicts}
    judged = [(x.outcome, said[x.id]) for x in labelled if said[x.id].outcome != "unjudged"]
    square = [[sum((k, v.outcome) == (x, y) for k, v in judged) for y in _KINDS] for x in _KINDS]
    se, sp = Counted(square[0][0], sum(square[0])), Counted(square[1][1], sum(square[1]))
    j, kappa = youden_j(se, sp), cohens_kappa(square)
    weighed = [(v.probability, k == "violates") for k, v in judged if v.probability is not None]
    replies = sum(1 + v.retries + max(0, len(v.votes) - 1) for v in verdicts)
    return ReadingFigures(
        id=read,
        accuracy=wilson_share(se.hits + sp.hits, se.n + sp.n),
        balanced_accuracy=(j.value + 1) / 2 if j else None,
        auc=area_under_curve([p for p, _ in weighed], [k for _, k in weighed]) if weighed else None,
        kappa=kappa.value,
        youden=j.value if j else None,
        youden_low=j.low if j else None,
        youden_high=j.high if j else None,
        unjudged=len(labelled) - len(judged),
        prompts=replies if read == "rationale" else orders * len(verdicts),
    )


_KINDS: tuple[Outcome, Outcome] = ("violates", "complies")
