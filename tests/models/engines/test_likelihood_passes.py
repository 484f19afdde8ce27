"""Which rows go through the model, in which batches, and how much memory a batch is thought to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charter.models import weights
from charter.models.engines import memory
from charter.models.engines.likelihood_passes import (
    LOGITS,
    plan_passes,
    score_passes,
)
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.records.chat import Message, ScoreRequest
from tests.fakes import tiny_models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build(tmp_path_factory.mktemp("scored"))


def test_options_of_one_token_share_the_pass_of_their_context() -> None:
    context = [5, 6, 7]
    pairs = [(context, [8]), (context, [9]), (context, [9, 4, 3]), ([5, 6], [7]), ([1], [2])]
    passes = plan_passes(pairs)
    assert [one.ids for one in passes] == [[5, 6, 7, 9, 4], [1]]
    assert sorted(span.place for one in passes for span in one.spans) == [0, 1, 2, 3, 4]


def test_one_long_answer_does_not_multiply_the_logits_of_its_batch(llama: Path) -> None:
    """Every call of the model keeps at most as many logits as the bound allows, whatever the answers' lengths."""
    model = LocalEngine(weights.resolve_model(str(llama)), LocalOptions(device="cpu"))
    words = tiny_models.WORDS
    asked = [
        ScoreRequest(
            id=f"s{n}",
            messages=(Message(role="user", content=words[n]),),
            completion=" ".join((words * 3)[: 1 if n else 110]),
        )
        for n in range(40)
    ]
    seen: list[tuple[int, ...]] = []
    model.model.lm_head.register_forward_hook(lambda *given: seen.append(tuple(given[-1].shape)))
    found = list(model.score(asked))
    assert len(found) == 40
    assert all(rows * kept * size <= LOGITS for rows, kept, size in seen)
    assert sum(rows for rows, _, _ in seen) <= 40


def test_figures_are_those_of_each_pair_alone(llama: Path) -> None:
    import torch

    model = weights.load_model(llama, "cpu")
    draw = torch.Generator().manual_seed(0)
    pairs = [
        (
            torch.randint(6, 50, (1 + n % 5,), generator=draw).tolist(),
            torch.randint(6, 50, (n % 7,), generator=draw).tolist(),
        )
        for n in range(30)
    ]
    pairs += [(pairs[9][0], [option]) for option in (7, 8, 9)]
    found = {}
    passes = plan_passes(pairs)
    for batch in (passes[start : start + 4] for start in range(0, len(passes), 4)):
        for one, weighed in zip(batch, score_passes(model, batch), strict=True):
            found.update({span.place: value for span, value in zip(one.spans, weighed, strict=True)})
    assert len(found) == len(pairs)
    for place, (before, after) in enumerate(pairs):
        with torch.inference_mode():
            shares = torch.log_softmax(model(torch.tensor([before + after])).logits[0].double(), -1)
        lines = shares[len(before) - 1 : len(before) + len(after) - 1]
        assert found[place][0] == pytest.approx(sum(float(lines[n, token]) for n, token in enumerate(after)), abs=1e-5)
        assert found[place][1] == (lines.argmax(-1).tolist() == after)


def test_a_batch_that_does_not_fit_a_cpu_is_halved_before_it_is_tried(llama: Path) -> None:
    class Small(LocalEngine):
        """An engine on a machine with memory for so many bytes."""

        room = 2**62

        def _fits(self, needed: int) -> bool:
            return needed <= self.room

    asked = [tiny_models.ask(f"r{n}", " ".join(tiny_models.WORDS[n : n + 3]), max_tokens=6) for n in range(8)]
    model = Small(weights.resolve_model(str(llama)), LocalOptions(device="cpu"))
    expected = list(model.generate(asked))
    sizes: list[int] = []

    def note(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        sizes.append(len(given["input_ids"]))

    model.model.register_forward_pre_hook(note, with_kwargs=True)
    Small.room = memory.estimate_batch(model.model.config, 2, 8, 8 + 6, 1)
    assert list(model.generate(asked)) == expected
    assert max(sizes) == 2
    Small.room = 0
    assert list(model.generate(asked)) == expected, "a single request is tried whatever the estimate says"


def test_what_is_available_is_what_the_kernel_says_or_what_a_group_has_left(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n")
    assert memory.read_available(info, tmp_path / "none") == 4000 * 1024
    for name, text in {
        "memory.max": "3000000\n",
        "memory.current": "1000000\n",
        "memory.stat": "inactive_file 5\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert memory.read_available(info, tmp_path) == 2000005
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.read_available(info, tmp_path) == 4000 * 1024
    assert memory.read_available(tmp_path / "absent", tmp_path) is None
