"""Curation: near-duplicates among 100,000 prompts, planted benchmark rows among clean ones, masking by kind.

The published sets are read from CHARTER_TEST_DATA (default: ../shared/data beside the project)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.splits import repeated, templated, unlike

from charter.data.curation.contamination import MIN_WORDS, ContaminationIndex
from charter.data.curation.curation_records import CurationRow
from charter.data.curation.masking import mask_text
from charter.data.detectors.pii_detector import PiiDetector
from charter.data.detectors.secret_detector import SecretDetector
from charter.data.sources.data_files import read_files
from charter.data.sources.source_prompts import SourcePrompts
from charter.records.chat import Prompt
from charter.similarity.spelling import normalize_text
from charter.similarity.splits import find_near_duplicates, jaccard, shingles
from charter.spec import SourceSpec
from charter.statistics import wilson
from evidence.cells import ROOT, kept
from evidence.claims import target
from evidence.labelled import FORMS, labelled

ROWS, COMPARED, SAMPLE, NEAR, PERMUTATIONS = 100_000, 20_000, 500, 0.8, 128
PLANTED, CLEAN, EACH = 200, 20_000, 60
DATA = Path(os.environ.get("CHARTER_TEST_DATA", ROOT.parent / "shared" / "data"))
IN_USE = {
    "truthfulqa": "truthfulqa/TruthfulQA.csv",
    "harmbench": "harmbench/harmbench_behaviors_text_all.csv",
    "advbench": "advbench/harmful_behaviors.csv",
    "xstest": "xstest/xstest_prompts.csv",
    "vicuna": "vicuna/question.jsonl",
    "dangerousqa": "dangerousqa/toxic_outs.json",
}
CHILD = """
import resource, sys
from charter.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    if ended.code:
        raise
used = resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss begins with what the parent held when it forked; VmHWM is this process's own
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("used", used.ru_utime + used.ru_stime, peak)
"""


def curation() -> dict[str, Any]:
    """All three."""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "contamination": contamination,
        "masking": masking,
        "duplicates": duplicates,
    }
    found = {name: kept(f"curation-{name}", make) for name, make in parts.items()}
    rows, planted, clean = (
        found["duplicates"]["rows"],
        found["contamination"]["planted"],
        found["contamination"]["clean"],
    )
    own = rows[0]
    long = [r for r in planted if r["words"] == "8 or more"]
    caught = [sum(r[where] for r in long) for where in ("found", "found within a longer row")]
    return found | {
        "targets": [
            target("CPU seconds for 100,000 prompts, on one core", "<= 180", [own["CPU seconds"]], lambda v: v <= 180),
            target("seconds by the clock for them, on 2 cores", "<= 180", [own["seconds"]], lambda v: v <= 180),
            target("peak memory, GiB", "<= 2", [own["GiB"]], lambda v: v <= 2),
            target(
                "planted rows of 8 words or more found, of 200: alone, within a longer row", "200", caught, all_found
            ),
            target("clean rows left out, %", "<= 0.5", [100 * clean["dropped"] / clean["n"]], lambda v: v <= 0.5),
        ]
    }


def all_found(count: float) -> bool:
    """Whether every planted row was found."""
    return count == PLANTED


def texts_of(name: str, path: str) -> list[str]:
    """The prompts of a published set, both sides."""
    source = SourceSpec.model_validate({"name": name, "path": str(DATA / path)})
    sides = [SourcePrompts(source, side, offline=True).prompts() for side in ("unsafe", "safe")]
    prompts: list[Prompt] = [p for side in sides for p in side]
    return list(dict.fromkeys(p.last for p in prompts))


def varied(texts: Sequence[str], count: int, source: random.Random) -> Iterator[str]:
    """Real prompts, each with up to four words changed for words of others."""
    words = sorted({word for text in texts for word in text.split()})
    for _ in range(count):
        copy = source.choice(texts).split()
        for _ in range(source.randint(0, 4)):
            copy[source.randrange(len(copy))] = source.choice(words)
        yield " ".join(copy)


def pool(count: int) -> list[str]:
    """Four kinds of prompts, mixed."""
    source = random.Random(0)
    real = [text for name, path in IN_USE.items() for text in texts_of(name, path) if text.split()]
    quarter = count // 4
    texts = [*unlike(quarter, source), *templated(quarter, source), *repeated(quarter, source)]
    texts += varied(real, count - len(texts), source)
    source.shuffle(texts)
    return texts


def duplicates(count: int = ROWS, compared: int = COMPARED, sample: int = SAMPLE) -> dict[str, Any]:
    """``charter curate`` on a file of ``count`` prompts; and on ``compared`` ones, in memory, the same search beside
    MinHash-LSH. Each is held against exact Jaccard."""
    rows = [by_command(pool(count), sample)]
    texts = pool(compared)
    chosen = random.Random(1).sample(range(len(texts)), min(sample, len(texts)))
    ways: dict[str, Callable[[], set[int]]] = {
        "the same search, in memory": lambda: set(find_near_duplicates(texts, NEAR)),
        "MinHash-LSH": lambda: by_minhash(texts, False),
        "MinHash-LSH, then exact Jaccard": lambda: by_minhash(texts, True),
    }
    for how, search in ways.items():
        began = time.process_time()
        dropped = search()
        cpu = round(time.process_time() - began, 1)
        rows.append({"how": how, "prompts": compared, "CPU seconds": cpu, **held(texts, dropped, chosen)})
    return {"sample": len(chosen), "threshold": NEAR, "permutations": PERMUTATIONS, "rows": rows}


def by_command(texts: Sequence[str], sample: int) -> dict[str, Any]:
    """The command in a process of its own: time, memory, recall and precision."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "rows.jsonl", Path(folder) / "out"
        file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts), encoding="utf-8")
        words = ["curate", str(file), "--out", str(out), "--set", "mask=false", "--set", f"near={NEAR}"]
        began = time.monotonic()
        ended = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        _, cpu, memory = ended.stdout.strip().splitlines()[-1].split()
        lines = (out / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
        dropped = {int(json.loads(line)["row"].split()[1]) - 1 for line in lines}
    chosen = random.Random(1).sample(range(len(texts)), min(sample, len(texts)))
    took = {"CPU seconds": round(float(cpu), 1), "seconds": round(seconds, 1), "GiB": round(float(memory) / 2**20, 2)}
    others_at_work = round(os.getloadavg()[0], 1)
    head = {"how": "`charter curate`", "prompts": len(texts), **took, "load": others_at_work}
    return head | held(texts, dropped, chosen)


def by_minhash(texts: Sequence[str], check: bool) -> set[int]:
    """What MinHash-LSH of datasketch leaves out, the first of several staying; ``check``: candidates are compared."""
    from datasketch import MinHash, MinHashLSH

    index, kept, dropped = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS), dict[int, frozenset[str]](), set[int]()
    for number, text in enumerate(texts):
        parts = shingles(text)
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([part.encode() for part in parts])
        near = index.query(sketch)
        if any(not check or jaccard(parts, kept[other]) >= NEAR for other in near):
            dropped.add(number)
            continue
        index.insert(number, sketch)
        if check:
            kept[number] = parts
    return dropped


def held(texts: Sequence[str], dropped: set[int], chosen: Sequence[int]) -> dict[str, Any]:
    """Recall and precision on the rows chosen: a row is a duplicate where an earlier row that stays reaches the
    threshold, by counting the shingles in common with every such row."""
    holders: defaultdict[str, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for number, text in enumerate(texts):
        if number not in dropped:
            parts = shingles(text)
            sizes[number] = len(parts)
            for part in parts:
                holders[part].append(number)
    counts: Counter[tuple[bool, bool]] = Counter()
    for number in chosen:
        parts = shingles(texts[number])
        common = Counter(other for part in parts for other in holders[part] if other < number)
        true = any(n / (len(parts) + sizes[other] - n) >= NEAR for other, n in common.items())
        counts[true, number in dropped] += 1
    near, left_out = counts[True, True] + counts[True, False], counts[True, True] + counts[False, True]
    return {
        "left out": len(dropped),
        "true in the sample": near,
        "recall": round(counts[True, True] / near, 4) if near else None,
        "precision": round(counts[True, True] / left_out, 4) if left_out else None,
    }


def contamination(planted: int = PLANTED, clean: int = CLEAN) -> dict[str, Any]:
    """Rows of benchmarks in use, planted in four ways, and clean rows of the same genres."""
    source = random.Random(0)
    in_use = {name: texts_of(name, path) for name, path in IN_USE.items()}
    known = ContaminationIndex(in_use)
    plain = {normalize_text(text) for texts in in_use.values() for text in texts}
    every = [text for texts in in_use.values() for text in texts]
    words = sorted({word for text in every for word in text.split()})
    rows = []
    for label, long in (("8 or more", True), ("fewer", False)):
        texts = [text for text in every if (len(text.split()) >= MIN_WORDS) == long and normalize_text(text)]
        for way in ("verbatim", "re-cased", "re-punctuated", "one word changed"):
            picked = source.sample(texts, planted // 4)
            alone = [altered(text, way, words, source) for text in picked]
            within = [f"Could you help me with this one? {text} I need it soon." for text in alone]
            talks = [
                CurationRow("r", ("You help people.", "Hello!", "Hello to you.", text, "Let me see."), 4)
                for text in alone
            ]
            rows.append(
                {
                    "words": label,
                    "way": way,
                    "n": len(alone),
                    "found": sum(known.find(text, text) is not None for text in alone),
                    "found within a longer row": sum(known.find(text, text) is not None for text in within),
                    "found as a turn": sum(known.find(row.all_text, *row.separate_texts) is not None for row in talks),
                }
            )
    innocent = [text for text in genres() if normalize_text(text) not in plain]
    source.shuffle(innocent)
    innocent = innocent[:clean]
    wrong = [match for text in innocent if (match := known.find(text, text)) is not None]
    low, high = wilson(len(wrong), len(innocent))
    by = Counter(match.how for match in wrong)
    return {
        "benchmark texts": {name: len(texts) for name, texts in in_use.items()},
        "planted": rows,
        "clean": {"n": len(innocent), "dropped": len(wrong), "low": low, "high": high, "how": dict(by)},
        "siblings": siblings(in_use["advbench"], source),
    }


def altered(text: str, way: str, words: Sequence[str], source: random.Random) -> str:
    """A text planted in one of four ways."""
    if way == "re-cased":
        return "".join(source.choice((c.lower(), c.upper())) for c in text)
    if way == "re-punctuated":
        return (
            " ".join(f"{word}{source.choice(('', ',', ' -', ';', '!'))}" for word in normalize_text(text).split())
            + "..."
        )
    if way == "one word changed":
        copy = text.split()
        place = source.randrange(len(copy))
        copy[place] = source.choice(
            [word for word in words if normalize_text(word) not in ("", normalize_text(copy[place]))]
        )
        return " ".join(copy)
    return text


def genres() -> list[str]:
    """Rows of the genres of the benchmarks that are in none of them: what people asked and models answered (hh-rlhf),
    harmful questions (HarmfulQA), instructions (self-instruct), questions about a situation (BBQ)."""
    out = texts_of("harmfulqa", "harmfulqa/harmfulqa.json") + texts_of(
        "self-instruct", "self_instruct/seed_tasks.jsonl"
    )
    for row in read_files(str(DATA / "hh_rlhf" / "harmless-base" / "test.jsonl.gz")):
        for side in ("chosen", "rejected"):
            turns = str(row.value[side]).replace("\n\nAssistant:", "\n\nHuman:").split("\n\nHuman:")
            out += (turn.strip() for turn in turns if len(turn.split()) > 1)
    for kind in ("harmless", "helpful", "honest", "other"):
        out += (
            row.value["input"]
            for row in read_files(str(DATA / "hhh_alignment" / kind / "task.json"))
            if "input" in row.value
        )
    for name in ("Age", "Religion"):
        for row in read_files(str(DATA / "bbq" / f"{name}.jsonl")):
            out.append(f"{row.value['context']} {row.value['question']}")
    return list(dict.fromkeys(out))


def siblings(texts: Sequence[str], source: random.Random) -> dict[str, int]:
    """The hardest clean rows: half of AdvBench, where the other half is the benchmark. Its rows are variations of one
    another, so that most of what is found is a near copy by any measure."""
    mixed = source.sample(list(texts), len(texts))
    known = ContaminationIndex({"half": mixed[: len(mixed) // 2]})
    others = mixed[len(mixed) // 2 :]
    return {"n": len(others), "dropped": sum(known.find(text, text) is not None for text in others)}


def masking(each: int = EACH) -> dict[str, Any]:
    """By kind and form: how often the value is masked whole (recall); by kind: how often what is masked is of that kind
    (precision)."""
    recognisers = (SecretDetector(), PiiDetector())
    hits: Counter[tuple[str, str]] = Counter()
    said: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for item in labelled(each):
        spans = [span for recogniser in recognisers for span in recogniser.find(item.text)]
        after, counts = mask_text(item.text, recognisers)
        value = item.text[item.start : item.end]
        secret = value.split()[-1].strip("'") if item.kind == "SECRET" and "password" in item.form else value
        hidden = secret not in after and any(s.start < item.end and s.end > item.start for s in spans)
        hits[item.kind, item.form] += hidden
        said.update(counts)
        right.update(kind for kind in counts.elements() if kind == item.kind)
    rows = [
        {"kind": kind, "form": form, "n": each, "masked": hits[kind, form], "share": round(hits[kind, form] / each, 3)}
        for kind, forms in FORMS.items()
        for form in forms
    ]
    precision = [
        {
            "kind": kind,
            "masked": said[kind],
            "of that kind": right[kind],
            "precision": round(right[kind] / said[kind], 3),
        }
        for kind in sorted(said)
    ]
    return {"by": [r.identity for r in recognisers], "rows": rows, "precision": precision, "cost": cost(each)}


def cost(each: int) -> dict[str, Any]:
    """What masking takes, on ordinary rows of the genres."""
    recognisers, texts = (SecretDetector(), PiiDetector()), genres()[: 50 * each]
    mask_text(texts[0], recognisers)
    began = time.process_time()
    for text in texts:
        mask_text(text, recognisers)
    return {"rows": len(texts), "rows per CPU second": round(len(texts) / (time.process_time() - began))}
