"""Jobs beside runs that align: their judges weigh on the workers of a real Ray cluster, and say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter import jobs
from charter.data.curation.curation_records import CurationRow
from charter.jobs.curation_judge import open_target_judge
from charter.jobs.exchange_judging import judge_exchanges_of
from charter.records.chat import Exchange, Message, Prompt, Sampling
from charter.records.verdicts import Verdict
from charter.runs.reader import RunReader
from charter.spec import Spec, parse_spec
from tests.fakes import tiny_classifiers
from tests.fakes.ray_replicas import start_nodes

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # those of Ray are not ours

SAID = {f"s{n}": f"{verb} you" for n, verb in enumerate(["hate", "thank", "rob", "see", "kill", "know"] * 2)}
RAY = {"executor": {"kind": "ray", "workers": 1}}


@pytest.fixture(scope="module", autouse=True)
def nodes() -> Iterator[None]:
    """A cluster that this process is connected to; jobs use it, and leave it open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        with start_nodes(1):
            yield


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tiny_classifiers.build(tmp_path_factory.mktemp("models") / "classifier")
    told = {"harm": {"toxic": "harmful", "neutral": "harmless"}}
    classifiers = [{"model": str(folder), "rubrics": told, "reads": "response"}]
    return {"judge": {"model": "none", "classifiers": classifiers}, "options": {"judge": {"rubric": "harm"}}}


def read(asked: dict[str, Any]) -> Spec:
    return parse_spec(yaml.safe_dump({"world": "village", "method": "red_team"} | asked))


def answered(id: str, text: str) -> Exchange:
    prompt = Prompt(id=id, messages=(Message(role="user", content=id),))
    return Exchange(id=id, prompt=prompt, response=text, stop="stop", model="m", sampling=Sampling())


def without_probability(verdicts: list[Verdict]) -> list[Verdict]:
    return [one.model_copy(update={"probability": None, "raw": ""}) for one in verdicts]


def test_a_calibration_on_the_cluster_is_that_of_this_process(judge: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"
    toxic = ("hate", "rob", "kill")
    rows = [
        {"prompt": id, "response": text, "label": "harmful" if text.startswith(toxic) else "harmless"}
        for id, text in SAID.items()
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = judge | {"method": "calibrate", "calibrate": {"labelled": [str(file)]}}
    runs = []
    for name, executor in (("here", {}), ("there", RAY)):
        jobs.launch_run(yaml.safe_dump(asked | executor), tmp_path / name)
        runs.append(RunReader(tmp_path / name))
    here, there = ([*run.records("000/verdicts", Verdict)] for run in runs)
    assert {one.outcome for one in here} == {"violates", "complies"}
    assert without_probability(there) == without_probability(here)


def test_judging_and_curation_on_the_cluster_say_what_this_process_does(judge: dict[str, Any], tmp_path: Path) -> None:
    exchanges = [answered(id, text) for id, text in SAID.items()]
    here, there = (judge_exchanges_of(exchanges, read(judge | executor)) for executor in ({}, RAY))
    assert {one.outcome for one in here} == {"violates", "complies"}
    assert without_probability(there) == without_probability(here)
    rows = [CurationRow(id=id, texts=(id, text), prompt_turns=1) for id, text in SAID.items()]
    found = []
    for name, executor in (("here", {}), ("there", RAY)):
        with open_target_judge(read(judge | executor), tmp_path / name) as judged:
            found.append(judged(rows))
    assert found[1] == found[0]
    assert len(set(found[0])) == 2
