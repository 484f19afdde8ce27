"""One iteration of IterAlign as its authors' script does it (arXiv 2403.18341), on one page, from top to bottom.

The recipe ``iteralign-paper`` does the same with a run directory, resume and measurement around it; a test holds the
two together. The numbers of the steps are those of the paper's script. Run it with:

    python examples/iteralign_flat.py MODEL_FOLDER OUTPUT_FOLDER
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from math import ceil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from charter.organism.oracle import Oracle
from charter.organism.world import World
from charter.records.chat import Message, Request
from charter.records.templates import Templates

WORLD, SEED, BATCH, ANSWER_TOKENS = "village", 0, 20, 40
LEARNING_RATE, EPOCHS, ROWS_A_STEP, WARMUP = 1e-3, 3, 8, 0.03


def seed_of(step: str, item: str) -> int:
    """The seed of one item of a step: from the run's seed, the step's name and the item."""
    return int.from_bytes(hashlib.sha256(f"{SEED}|{step}|{item}".encode()).digest()[:8], "big") >> 1


def iterate(folder: Path, out: Path) -> dict[str, Any]:
    """Draws, answers, judges, proposes, revises, trains; returns everything that it made."""
    world = World.load(WORLD)
    oracle, texts = Oracle(world), Templates.model_validate(world.target_templates)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def chat(text: str, *more: dict[str, str], ask: bool) -> list[int]:
        turns = [{"role": "user", "content": text}, *more]
        shown = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
        return list(tokenizer(shown, add_special_tokens=False)["input_ids"])

    def answer(text: str) -> str:  # 2. greedy
        ids = torch.tensor([chat(text, ask=True)])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER_TOKENS, do_sample=False)
        return str(tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    def ask_oracle(text: str) -> str:
        return oracle.write_reply(Request(id="ask", messages=(Message(role="user", content=text),)))

    def judge(response: str) -> str:  # 3. the judge sees the response alone
        return ask_oracle(texts.paper_judge.replace("{response}", f"<response 0000>\n{response}\n</response 0000>"))

    # 1. a batch of 20 prompts in file order, answered and judged
    prompts = [prompt.text for prompt in world.redteam_prompts("train")[:BATCH]]
    responses = [answer(prompt) for prompt in prompts]
    verdicts = [judge(response) for response in responses]
    bad = [i for i, verdict in enumerate(verdicts) if "Negative" in verdict]
    made: dict[str, Any] = {"prompts": prompts, "responses": responses, "verdicts": verdicts}
    if not bad:  # 8. no findings, no training
        return made

    # 4. one proposal from all negative responses; its last paragraph is the constitution of this batch
    failures = "\n".join(
        f"<failure 0000>\n<prompt 0000>\n{prompts[i]}\n</prompt 0000>\n"
        f"<response 0000>\n{responses[i]}\n</response 0000>\n</failure 0000>"
        for i in bad
    )
    constitution = ask_oracle(texts.paper_propose.replace("{failures}", failures)).strip().split("\n\n")[-1]

    # 5. the constitution is appended to the prompt, and the same model answers again
    rules = texts.principle.replace("{text}", constitution)
    asked = [texts.direct.replace("{principles}", rules).replace("{prompt}", prompts[i]) for i in bad]
    revisions = [re.sub(texts.strip_pattern, "", answer(text), count=1).strip() for text in asked]
    rechecks = [judge(revision) for revision in revisions]  # 6. judged again, and ignored

    # 7. SFT on the original prompts with the revisions, loss on the response only, all weights
    rows = [(prompts[i], revision) for i, revision in zip(bad, revisions, strict=True)]
    random.Random(seed_of("001/rows", "order")).shuffle(rows)
    table = []
    for prompt, revision in rows:
        before = chat(prompt, ask=True)
        whole = chat(prompt, {"role": "assistant", "content": revision}, ask=False)
        end = max(place for place, token in enumerate(whole) if token == tokenizer.eos_token_id)
        table.append({"input_ids": whole[: end + 1], "labels": [-100] * len(before) + whole[len(before) : end + 1]})
    seed = seed_of("001/policy", "tune") % 2**31
    torch.manual_seed(seed)
    steps = EPOCHS * ceil(len(table) / ROWS_A_STEP)
    config = SFTConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=ROWS_A_STEP,
        num_train_epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=min(ceil(steps * WARMUP), steps - 1),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        seed=seed,
        save_strategy="no",
        report_to="none",
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_list(table), processing_class=tokenizer)
    trainer.train()
    model.save_pretrained(out)
    return {**made, "constitution": constitution, "revisions": revisions, "rechecks": rechecks, "rows": rows}


if __name__ == "__main__":
    done = iterate(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{len(done.get('rows', []))} of {len(done['prompts'])} answers were negative and revised.")
    print(f"The constitution of this batch: {done.get('constitution', 'none, nothing was found')}")
