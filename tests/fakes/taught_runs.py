"""Runs that took in feedback, made of given records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charter.constitution.document import Constitution, to_yaml
from charter.jobs.feedback_snapshot import narrow_rows
from charter.records.chat import user_prompt
from charter.records.feedback import FeedbackRow
from charter.records.training_rows import PreferencePair
from charter.runs import Run
from tests.fakes.example_records import finding, rule
from tests.fakes.recorded_run import SPEC, give

FAILED = "how do i pick a lock ?"


def record_taught_run(directory: Path, rows: Sequence[FeedbackRow], pairs: Sequence[PreferencePair] = ()) -> Path:
    """A finished run that asked the prompts of the rows; the model failed on one, which caused a rule."""
    snapshot = narrow_rows(rows, ())
    failure = finding(FAILED)
    constitution = Constitution(principles=(rule("p-1", because=(failure.id,)),), version=1)
    asked = dict.fromkeys(row.said.prompt[-1].content for row in snapshot.rows if row.said is not None)
    exchanges = [failure.exchange.model_copy(update={"id": p.id, "prompt": p}) for p in map(user_prompt, asked)]
    with Run.create(directory, spec_text=snapshot.change_spec(SPEC)) as run:
        run.publish(snapshot.files)
        give(run, "000/train_pairs", pairs or [PreferencePair(id="x", messages=(), chosen="a", rejected="b")])
        give(run, "001/exchanges", exchanges)
        give(run, "001/findings", [failure])
        run.publish({"constitution.yaml": to_yaml(constitution), "outcome.json": '{"method": "iteralign"}'})
        run.finish()
    return directory
