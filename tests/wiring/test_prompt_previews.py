"""What a dry run shows of prompts: as the target will read them."""

from __future__ import annotations

import json
from pathlib import Path

from charter.data.sources.source_prompts import SourcePrompts
from charter.models import weights
from charter.spec import SourceSpec, parse_spec
from charter.wiring.prompt_previews import count_rows, preview_prompts
from tests.fakes import tiny_models

ALTERNATING = (
    "{% for m in messages %}{% if loop.index0 and m.role == messages[loop.index0 - 1].role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
)


def test_prompts_whose_turns_the_template_cannot_take_in_a_row_are_counted(tmp_path: Path) -> None:
    where = tiny_models.build(tmp_path / "model")
    (where / "chat_template.jinja").write_text(ALTERNATING, encoding="utf-8")
    twice = [{"role": "user", "content": "what is tea"}, {"role": "user", "content": "and cake"}]
    rows = [{"prompt": twice}, {"prompt": "who is here"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = SourcePrompts(SourceSpec(path=str(tmp_path / "rows.jsonl")))
    spec = parse_spec(f"world: village\ntarget: {{model: {where}, device: cpu}}\n")
    told = preview_prompts(spec, weights.resolve_model(str(where)), [source], count_rows([source]))
    assert told["template"].startswith("none of 2 prompts is refused")
    assert "joined in 1 of them" in told["template"]
    assert told["first_prompts"]["1"].count("<user>") == 1
