"""What the figures are worth: coverage of intervals, how often a test errs, and judged shares corrected."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import numpy

from charter.statistics import (
    FileRates,
    MeanChange,
    bootstrap_mean,
    change_interval,
    clustered_interval,
    cohens_kappa,
    correct_share,
    gwet_ac1,
    homogeneity_p,
    mcnemar,
    mean_change,
    smallest_detectable_change,
    wilson,
)
from evidence.cells import ROOT
from evidence.claims import Row, target

DRAWS, RESAMPLES = 2_000, 299
SIZES = (5, 10, 20, 60, 400)
LEVEL = 0.05
MODELS = ("gpt4", "llama2new", "llama2orig", "mistralguard", "mistralinstruct")
DATA = Path(os.environ.get("CHARTER_TEST_DATA") or ROOT.parent / "shared" / "data") / "xstest_completions"
BEFORE: Mapping[str, Any] = {
    "mean": {
        "5": {"normal": 0.754, "uniform": 0.734, "beta(.5,.5)": 0.744, "beta(.1,.9)": 0.534},
        "10": {"normal": 0.878, "uniform": 0.882, "beta(.5,.5)": 0.894, "beta(.1,.9)": 0.702},
        "20": {"normal": 0.950, "uniform": 0.960, "beta(.5,.5)": 0.966, "beta(.1,.9)": 0.802},
        "60": {"normal": 0.944, "uniform": 0.968, "beta(.5,.5)": 0.960, "beta(.1,.9)": 0.920},
    },
    "kappa": {"n=20": 0.869, "n=50": 0.890, "n=50, 90 % of one label": 0.873, "n=30, 95 % of one label": 0.497},
    "moved, one side steady, n=200, shares .05 to .9": {"2 seeds": ".28 to .49", "3": ".78 to .94", "5": ".99 to 1"},
    "power at what n can show, 5 % changing each way besides": {"60": 0.46, "100": 0.37, "400": 0.17},
    "clustered, lowest": {"10 clusters": 0.778, "30": 0.898, "100": 0.806},
    "xstest": {"string match": "1 of 5", "GPT-4": "4 of 5"},
}
"""The same measured before these methods were changed, with 500 or 1,000 draws."""


def measurement(draws: int = DRAWS) -> Row:
    """Every table anew, beside what it was."""
    parts: dict[str, tuple[Callable[..., Any], Any]] = {
        "mean": (_means, draws),
        "kappa": (_kappas, draws // 2),
        "AC1": (_ac1s, draws // 2),
        "moved": (_moved, draws),
        "change": (_changes, draws),
        "power": (_power, draws),
        "clustered": (_clustered, draws // 2),
        **{name: (_xstest, label) for name, label in JUDGES.items()},
    }
    with ProcessPoolExecutor() as pool:
        asked = {name: pool.submit(part, given) for name, (part, given) in parts.items()}
        after = {name: found.result() for name, found in asked.items()}
    after["xstest"] = {name: after.pop(name) for name in JUDGES}
    means, steady = after["mean"], [row["p <= .05"] for row in after["moved"]]
    held = {name: sum(row["holds"] for row in rows) for name, rows in after["xstest"].items()}
    widest = max(row["high"] - row["low"] for rows in after["xstest"].values() for row in rows)
    targets = [
        target("mean: lowest coverage, normal and uniform, n from 5", ">= .93", _lowest(means, 5), lambda v: v >= 0.93),
        target("mean: lowest coverage, beta(.1,.9), n from 20", ">= .90", _lowest(means, 20), lambda v: v >= 0.90),
        target("kappa: lowest coverage, n from 20", ">= .92", [min(after["kappa"].values())], lambda v: v >= 0.92),
        target("moved: most p <= .05 without a change, n from 60", "<= .07", [max(steady[-6:])], lambda v: v <= 0.07),
        target("xstest, string match: held", ">= 4 of 5", [held["string match"]], lambda v: v >= 4),
        target("xstest, GPT-4: held", "5 of 5", [held["GPT-4"]], lambda v: v >= 5),
        target("xstest: widest interval", "<= .40", [round(widest, 3)], lambda v: v <= 0.40),
    ]
    return {"n": {"draws": draws, "resamples": RESAMPLES}, "before": BEFORE, "after": after, "targets": targets}


def _lowest(means: Mapping[str, Mapping[str, float]], least: int) -> list[float]:
    kinds = ("normal", "uniform") if least == 5 else ("beta(.1,.9)",)
    return [min(row[kind] for n, row in means.items() if int(n) >= least for kind in kinds)]


def _share(events: Iterable[bool]) -> float:
    found = list(events)
    return round(sum(found) / len(found), 4)


def _means(draws: int) -> dict[str, dict[str, float]]:
    """Coverage of the interval of a mean. At n = 400 a tenth of the draws."""
    out: dict[str, dict[str, float]] = {}
    for n in SIZES:
        draw, many = numpy.random.default_rng(n), draws // 10 if n == 400 else draws
        drawn = {
            "normal": (draw.standard_normal((many, n)), 0.0, inf),
            "uniform": (draw.random((many, n)), 0.5, 1.0),
            "beta(.5,.5)": (draw.beta(0.5, 0.5, (many, n)), 0.5, 1.0),
            "beta(.1,.9)": (draw.beta(0.1, 0.9, (many, n)), 0.1, 1.0),
        }
        ids = [str(k) for k in range(n)]
        out[str(n)] = {
            name: _share(_holds(row, ids, true, most) for row in values.tolist())
            for name, (values, true, most) in drawn.items()
        }
    return out


def _holds(values: Sequence[float], ids: Sequence[str], true: float, most: float) -> bool:
    found = bootstrap_mean(values, ids, draws=RESAMPLES, least=-inf if most == inf else 0.0, most=most)
    return found is None or found.low is None or found.high is None or found.low <= true <= found.high


def _agreement(draws: int, figure: Callable[[Sequence[Sequence[int]]], Any]) -> dict[str, float]:
    """Coverage of agreement beyond chance, of tables in which it has a value; right in so many of each label."""
    out = {}
    settings = [(20, 0.5, 0.9), (50, 0.5, 0.9), (50, 0.1, 0.9), (30, 0.05, 0.97), (60, 0.5, 0.9), (400, 0.1, 0.9)]
    for n, rare, right in settings:
        shares = numpy.array([[(1 - rare) * right, (1 - rare) * (1 - right)], [rare * (1 - right), rare * right]])
        true = figure((shares * 1e9).tolist()).value
        drawn = numpy.random.default_rng(n).multinomial(n, shares.ravel(), size=draws).reshape(-1, 2, 2)
        found = [one for table in drawn.tolist() if (one := figure(table)).value is not None]
        out[f"n={n}, {1 - rare:.0%} of one label, right {right:.0%}"] = _share(o.low <= true <= o.high for o in found)
    return out


def _kappas(draws: int) -> dict[str, float]:
    return _agreement(draws, cohens_kappa)


def _ac1s(draws: int) -> dict[str, float]:
    return _agreement(draws, gwet_ac1)


def _moved(draws: int) -> list[Row]:
    """How often a change is found where there is none: one side answers alike under every seed, the other does not."""
    out = []
    for n in SIZES:
        for seeds in (2, 3, 5):
            draw, many, found = numpy.random.default_rng(n * seeds), draws // 10 if n == 400 else draws // 2, []
            for share in (0.5, 0.9):
                steady = draw.random((many // 2, n)) < share
                found += [_known(row) for row in (draw.binomial(seeds, share, steady.shape) / seeds - steady).tolist()]
            out.append(
                {
                    "n": n,
                    "seeds": seeds,
                    "p <= .05": _share(one.p <= LEVEL for one in found),
                    "covers": _share(one.low <= 0 <= one.high for one in found),
                }
            )
    return out


def _known(moves: Sequence[float]) -> MeanChange:
    found = mean_change(moves)
    assert found is not None
    return found


def _changes(draws: int) -> dict[str, Row]:
    """Coverage of a change of a share, and how often exact McNemar finds one where there is none: a tenth each way."""
    out = {}
    for n in SIZES:
        drawn = numpy.random.default_rng(n).multinomial(n, (0.1, 0.1, 0.8), size=draws)
        counts: dict[tuple[int, int], int] = {}
        for gained, lost, _ in drawn.tolist():
            counts[gained, lost] = counts.get((gained, lost), 0) + 1
        held = alarms = apart = 0
        for (gained, lost), times in counts.items():
            low, high = change_interval(gained, lost, n)
            found = mcnemar(gained, lost) <= LEVEL
            held, alarms = held + times * (low <= 0 <= high), alarms + times * found
            apart += times * (found == (low <= 0 <= high))
        out[str(n)] = {"covers": held / draws, "p <= .05": alarms / draws, "interval and p disagree": apart / draws}
    return out


def _power(draws: int) -> dict[str, Row]:
    """The power at what n is said to show, where 5 % change each way besides."""
    out = {}
    for n in (60, 100, 400):
        least = smallest_detectable_change(n, 0.05)
        assert least is not None
        shares = (least + 0.05, 0.05, 0.90 - least)
        drawn = numpy.random.default_rng(n).multinomial(n, shares, size=draws).tolist()
        out[str(n)] = {"shows": round(least, 4), "power": _share(mcnemar(up, down) <= LEVEL for up, down, _ in drawn)}
    return out


def _clustered(draws: int) -> list[Row]:
    """Coverage of a share whose events come in clusters of 5, of 10, or of 1 to 10, with a correlation within."""
    out = []
    for count in (5, 10, 30, 100):
        for size in ("5", "10", "1 to 10"):
            for share, within in ((0.05, 0.3), (0.5, 0.3), (0.5, 0.9), (0.9, 0.3)):
                draw, held, many = numpy.random.default_rng(count), 0, draws // 4 if count == 100 else draws // 2
                of = (1 - within) / within
                for _ in range(many):
                    sizes = draw.integers(1, 11, count) if size == "1 to 10" else numpy.full(count, int(size))
                    chances = draw.beta(share * of, (1 - share) * of, count).repeat(sizes)
                    ids = numpy.arange(count).repeat(sizes).astype(str).tolist()
                    low, high = clustered_interval((draw.random(len(ids)) < chances).astype(float).tolist(), ids)
                    held += low <= share <= high
                row = {"clusters": count, "answers to each": size, "share": share, "correlation": within}
                out.append({**row, "covers": round(held / many, 4)})
    return out


JUDGES = {"string match": "strmatch_label", "GPT-4": "gpt4_label"}


def _xstest(judge: str) -> list[Row]:
    """XSTest's completions: a judge calibrated on four models' answers, its share of the fifth's corrected."""
    files, out = {model: _file(model, judge) for model in MODELS}, []
    for model, (own, human) in files.items():
        others = [file for name, (file, _) in files.items() if name != model]
        found = correct_share(own.positives, own.n, others)
        if found is None:
            continue
        low, high = wilson(own.positives, own.n)
        row = {
            "model": model,
            "human": round(human, 3),
            "judged": round(own.positives / own.n, 3),
            "uncorrected holds": low <= human <= high,
            "corrected": round(found.value, 3),
            "low": round(found.low, 3),
            "high": round(found.high, 3),
            "part of the correction": round(found.held, 2),
            "fits": found.fits,
            "holds": found.fits and found.low <= human <= found.high,
            "sensitivity the same, p": homogeneity_p([(f.caught, f.violating) for f in others]),
            "specificity the same, p": homogeneity_p([(f.cleared, f.complying) for f in others]),
        }
        out.append(row)
    return out


def _file(model: str, judge: str) -> tuple[FileRates, float]:
    """What a judge did on one model's answers, and the share of them that people say violate: all but full refusals."""
    with (DATA / f"{model}.csv").open(newline="", encoding="utf-8") as file:
        bad = {row["id"]: row["final_label"] != "2_full_refusal" for row in csv.DictReader(file)}
    with (DATA / f"{model}_machine.csv").open(newline="", encoding="utf-8") as file:
        said = {row["id"]: row[judge] for row in csv.DictReader(file)}
    menu = {"1_full_compliance": True, "3_partial_refusal": True, "2_full_refusal": False}
    pairs = [(bad[id], menu[label]) for id, label in said.items() if label in menu]
    violating = [caught for known, caught in pairs if known]
    complying = [not caught for known, caught in pairs if not known]
    counted = FileRates(sum(violating), len(violating), sum(complying), len(complying))
    return counted, sum(bad.values()) / len(bad)
