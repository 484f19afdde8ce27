"""The diagrams of the pages. ``python -m docs`` writes them as ``docs/diagrams/NAME.svg``; a test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from docs.drawing import Arrow, Box, Diagram, render_diagram

FOLDER = Path(__file__).parent / "diagrams"

LOOP = Diagram(
    title="The loop",
    description="The policy is probed, a judge labels the exchanges, failures are clustered, and a rule is "
    "proposed for each cluster. Under the constitution the failures are revised. Verified revisions "
    "are kept, and the model is tuned on them. If the gates accept the policy, the loop begins again; "
    "if not, it is rolled back and tuned with more replay.",
    boxes={
        "probe": Box(0, 0, ("Probe", "the policy answers", "red-team prompts")),
        "judge": Box(1, 0, ("Judge", "each exchange gets", "a label")),
        "cluster": Box(2, 0, ("Cluster", "failures that mean", "the same")),
        "propose": Box(2, 1, ("Propose", "a rule for each cluster,", "checked")),
        "rules": Box(1, 1, ("Constitution", "the rules in force,", "each measured"), "kept"),
        "revise": Box(0, 1, ("Revise", "failures, under", "the rules")),
        "keep": Box(0, 2, ("Keep", "what a judge", "has verified")),
        "tune": Box(1, 2, ("Tune", "the starting model,", "with replay")),
        "gates": Box(2, 2, ("Gates", "did the policy lose", "what it could do?"), "end"),
    },
    arrows=(
        Arrow("probe", "judge"),
        Arrow("judge", "cluster"),
        Arrow("cluster", "propose", "b t"),
        Arrow("propose", "rules", "l r"),
        Arrow("rules", "revise", "l r"),
        Arrow("revise", "keep", "b t"),
        Arrow("keep", "tune"),
        Arrow("tune", "gates"),
        Arrow("gates", "probe", "r t", "accepted: the next batch"),
        Arrow("gates", "tune", "b b", "rolled back: more replay"),
    ),
)

PRINCIPLE = Diagram(
    title="The life of a principle",
    description="A cluster of failures causes a proposal. A proposal is checked: its form, copies, whom it "
    "addresses, and whether a failure is mended under it. A refused one is asked for again, with the "
    "reasons. One that passes is in force, and is measured on hidden failures and on look-alikes. One "
    "that is too broad is reworded and measured again. One that is useless or contradicts another is "
    "retired.",
    boxes={
        "cluster": Box(0, 0, ("Failures of one kind", "half hidden from", "the proposer"), "kept"),
        "proposed": Box(1, 0, ("Proposed", "in several wordings")),
        "checked": Box(2, 0, ("Checked", "form, copies, whom it", "tells, what it mends")),
        "refused": Box(1, 1, ("Refused", "listed with the reason"), "end"),
        "force": Box(2, 1, ("In force", "with its causes"), "kept"),
        "reworded": Box(1, 2, ("Reworded", "if it is too broad,", "at most twice")),
        "measured": Box(2, 2, ("Measured", "on hidden failures and", "on look-alikes")),
        "retired": Box(2, 3, ("Retired", "may come back, and is", "then measured again"), "end"),
    },
    arrows=(
        Arrow("cluster", "proposed"),
        Arrow("proposed", "checked"),
        Arrow("checked", "refused", "b- t+"),
        Arrow("refused", "proposed", "t- b-", "asked again"),
        Arrow("checked", "force", "b t", "passed"),
        Arrow("force", "measured", "b t"),
        Arrow("measured", "reworded", "l r"),
        Arrow("reworded", "measured", "b b-", "measured again"),
        Arrow("measured", "retired", "b t", "useless"),
    ),
)

RUN = Diagram(
    title="A run on disk, and how it is resumed",
    description="The folder of a run holds its spec and environment, a journal chained by hash, the start in 000, "
    "one folder for each iteration, final, the results, and HEAD, written last. A step appends its "
    "records to NAME.jsonl and is sealed by NAME.seal.json. After a kill, charter resume reads sealed "
    "steps and goes on with items without a record.",
    boxes={
        "spec": Box(0, 0, ("spec.yaml", "environment.json"), "kept"),
        "start": Box(0, 1, ("000/", "prompts, first scores"), "kept"),
        "iterations": Box(0, 2, ("001/  002/  ...", "one for each iteration"), "kept"),
        "final": Box(0, 3, ("final/", "the scores at the end"), "kept"),
        "head": Box(0, 4, ("HEAD", "one hash, written last"), "kept"),
        "journal": Box(1, 0, ("journal.jsonl", "events; each line has", "the hash of the last"), "kept"),
        "records": Box(1, 2, ("NAME.jsonl", "a record for each item,", "as it arrives"), "kept"),
        "seal": Box(1, 3, ("NAME.seal.json", "digests of records,", "inputs and files"), "kept"),
        "results": Box(1, 4, ("The results", "constitution.yaml,", "adapter/, report.html"), "kept"),
        "resume": Box(2, 1, ("charter resume", "reads sealed steps,", "does what is missing")),
        "kill": Box(2, 2, ("A kill", "at any moment"), "end"),
    },
    arrows=(
        Arrow("spec", "start", "b t"),
        Arrow("start", "iterations", "b t"),
        Arrow("iterations", "final", "b t"),
        Arrow("iterations", "records"),
        Arrow("records", "seal", "b t", "all items done"),
        Arrow("spec", "journal"),
        Arrow("final", "results", "r l-"),
        Arrow("results", "head", "l+ r+"),
        Arrow("records", "kill"),
        Arrow("kill", "resume", "t b"),
        Arrow("resume", "records", "l t"),
    ),
)

ROLES = Diagram(
    title="Roles and engines",
    description="The roles target, proposer, judge, attacker and evaluator all ask one port, the engine. An "
    "engine is weights in this process, workers of a Ray cluster, a server that charter starts, a "
    "hosted model or your own server, or a program of yours.",
    boxes={
        "target": Box(0, 0, ("Target", "the model to align")),
        "proposer": Box(0, 1, ("Proposer", "writes rules")),
        "judge": Box(0, 2, ("Judge", "labels exchanges")),
        "attacker": Box(0, 3, ("Attacker", "rewords prompts")),
        "evaluator": Box(0, 4, ("Evaluator", "scores before and after")),
        "engine": Box(1, 0, ("Engine", "one port for all:", "requests in,", "answers out"), "kept", rows=5),
        "process": Box(2, 0, ("Weights at hand", "in this process")),
        "cluster": Box(2, 1, ("Workers", "of a Ray cluster")),
        "served": Box(2, 2, ("A server", "that charter starts")),
        "remote": Box(2, 3, ("A hosted model", "or your own server")),
        "program": Box(2, 4, ("A program", "of your own")),
    },
    arrows=(
        *(Arrow(role, "engine") for role in ("target", "proposer", "judge", "attacker", "evaluator")),
        *(Arrow("engine", place) for place in ("process", "cluster", "served", "remote", "program")),
    ),
)

REVISION = Diagram(
    title="From a failure to a training row",
    description="A failure is revised under the rules. The revision becomes a training row only if the judge "
    "finds that it complies, it ends properly, it does not speak of the rules, it helps where safe "
    "help exists, and it does not open like too many others. Whatever fails is dropped, and counted "
    "by its reason.",
    boxes={
        "failure": Box(0, 0, ("A failure", "the judge says: violates"), "kept"),
        "revision": Box(0, 1, ("A revision", "critique, then answer,", "under the rules")),
        "complies": Box(0, 2, ("Does it comply?", "the judge, once more")),
        "ends": Box(0, 3, ("Is it whole?", "ends, not empty,", "not too long")),
        "rules": Box(0, 4, ("Is it to the point?", "not about rules", "or the critique")),
        "helps": Box(0, 5, ("Does it help?", "where safe help exists")),
        "opening": Box(0, 6, ("Does it open", "unlike the others?")),
        "row": Box(0, 7, ("A training row", "prompt and revision,", "without the rules"), "kept"),
        "dropped": Box(1, 2, ("Dropped", "counted by reason;", "the share is in", "every report"), "end", rows=5),
    },
    arrows=(
        Arrow("failure", "revision", "b t"),
        Arrow("revision", "complies", "b t"),
        Arrow("complies", "ends", "b t", "yes"),
        Arrow("ends", "rules", "b t", "yes"),
        Arrow("rules", "helps", "b t", "yes"),
        Arrow("helps", "opening", "b t", "yes"),
        Arrow("opening", "row", "b t", "yes"),
        *(Arrow(check, "dropped", "r l", "no") for check in ("complies", "ends", "rules", "helps", "opening")),
    ),
)

AUDIT = Diagram(
    title="An audit",
    description="A battery is made of a finished run and frozen. The baseline and the model answer the same "
    "prompts. One judge labels both, and each principle and benchmark is compared in pairs. Kept "
    "gives exit code 0, broken or weakened 1, and too few data 2.",
    boxes={
        "run": Box(0, 0, ("A finished run", "rules and failures"), "kept"),
        "battery": Box(1, 0, ("The battery", "frozen, with a digest"), "kept"),
        "baseline": Box(0, 1, ("The baseline", "answers as it did")),
        "model": Box(2, 1, ("The model", "as it is now")),
        "compare": Box(1, 2, ("One judge", "each prompt in pairs,", "rule by rule")),
        "kept": Box(0, 3, ("Kept", "exit code 0"), "end"),
        "unknown": Box(1, 3, ("Too few data", "exit code 2"), "end"),
        "drift": Box(2, 3, ("Weakened or broken", "exit code 1"), "end"),
    },
    arrows=(
        Arrow("run", "battery"),
        Arrow("battery", "baseline", "b t"),
        Arrow("battery", "model", "b t"),
        Arrow("baseline", "compare", "b t"),
        Arrow("model", "compare", "b t"),
        Arrow("compare", "kept", "b t"),
        Arrow("compare", "unknown", "b t"),
        Arrow("compare", "drift", "b t"),
    ),
)

FEEDBACK = Diagram(
    title="The way of feedback",
    description="What users say enters a store, masked and with consent. A fork takes a snapshot of it, learns "
    "from it, and its report says what it changed. To take a row back, it is erased from the store, "
    "and a fork without it trains anew.",
    boxes={
        "users": Box(0, 0, ("Users", "thumbs, ratings,", "corrections, choices")),
        "door": Box(1, 0, ("Service or import", "masks; asks for", "consent")),
        "store": Box(2, 0, ("The store", "each row once"), "kept"),
        "snapshot": Box(2, 1, ("A fork's snapshot", "prompts, pairs, ratings"), "kept"),
        "learn": Box(1, 1, ("The run", "probes and learns")),
        "report": Box(0, 1, ("Its report", "what feedback changed"), "end"),
        "erase": Box(2, 2, ("charter erase", "the words leave the", "store")),
        "anew": Box(1, 2, ("A fork without it", "trains from the", "first step")),
        "delete": Box(0, 2, ("Then delete", "the old run"), "end"),
    },
    arrows=(
        Arrow("users", "door"),
        Arrow("door", "store"),
        Arrow("store", "snapshot", "b t", "fork --feedback"),
        Arrow("snapshot", "learn", "l r"),
        Arrow("learn", "report", "l r"),
        Arrow("snapshot", "erase", "b t", "a row is taken back"),
        Arrow("erase", "anew", "l r"),
        Arrow("anew", "delete", "l r"),
    ),
)

PEOPLE = Diagram(
    title="People decide about rules",
    description="After the rules of an iteration are measured, the run pauses with exit code 10. People vote, in "
    "the terminal or in the studio, each for the wording that they see. When enough are of one mind, "
    "charter resume goes on: approved rules are used, rejected ones are not. A new wording begins "
    "anew.",
    boxes={
        "measured": Box(0, 0, ("Rules are measured", "nothing is made of", "them yet")),
        "pause": Box(1, 0, ("The run pauses", "exit code 10,", "and a notice"), "end"),
        "vote": Box(1, 1, ("People vote", "terminal or studio,", "with a reason")),
        "edit": Box(0, 1, ("Another wording", "votes begin anew")),
        "resume": Box(1, 2, ("charter resume", "when enough agree")),
        "approved": Box(0, 3, ("Approved", "failures are revised", "under it"), "kept"),
        "rejected": Box(1, 3, ("Rejected", "takes part in nothing"), "kept"),
    },
    arrows=(
        Arrow("measured", "pause"),
        Arrow("pause", "vote", "b t"),
        Arrow("vote", "edit", "l- r-"),
        Arrow("edit", "vote", "r+ l+"),
        Arrow("vote", "resume", "b t"),
        Arrow("resume", "approved", "b t"),
        Arrow("resume", "rejected", "b t"),
    ),
)

DIAGRAMS: Mapping[str, Diagram] = {
    "loop": LOOP,
    "principle": PRINCIPLE,
    "run": RUN,
    "roles": ROLES,
    "revision": REVISION,
    "audit": AUDIT,
    "feedback": FEEDBACK,
    "people": PEOPLE,
}


def render_diagrams() -> dict[Path, str]:
    """Every diagram's file, and what it is to hold."""
    return {FOLDER / f"{name}.svg": render_diagram(diagram) for name, diagram in DIAGRAMS.items()}
