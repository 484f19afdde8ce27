"""What a server of ``/v1/completions`` says, computed by a model with transformers alone: the tests' other opinion."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.fakes.openai_server import Reply


def completer(folder: Path, opening: bool = True) -> Reply:
    """Answers as vLLM does: the prompt's tokens with their log-probabilities (``echo``), then greedy ones.
    ``opening``: its tokens begin with the opening token, whose text counts in the places that it tells."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.eval()
    lock = threading.Lock()

    def reply(body: dict[str, Any]) -> dict[str, Any]:
        if "prompt" not in body:
            return {"status": 404, "error": "no chat here"}
        with lock, torch.inference_mode():
            return answered(body)

    def answered(body: dict[str, Any]) -> dict[str, Any]:
        ids = list(tokenizer(body["prompt"])["input_ids"])
        before = len(ids)
        for _ in range(body["max_tokens"]):
            logits = model(torch.tensor([ids])).logits[0, -1]
            ids.append(int(logits.argmax()))
        text = tokenizer.decode(ids if body.get("echo") else ids[before:], skip_special_tokens=True)
        usage = {"prompt_tokens": before, "completion_tokens": len(ids) - before, "total_tokens": len(ids)}
        if not body.get("logprobs"):
            return {"text": text, "usage": usage}
        shares = torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), -1)
        tokens, starts, values, top = [], [0], list[float | None](), list[dict[str, float] | None]()
        for place in range(0 if opening else 1, len(ids)):
            tokens.append(tokenizer.decode([ids[place]]))
            starts.append(starts[-1] + len(tokens[-1]))
            values.append(float(shares[place - 1, ids[place]]) if place else None)
            best = int(shares[place - 1].argmax())
            top.append({tokenizer.decode([best]): float(shares[place - 1, best])} if place else None)
        told = {"tokens": tokens, "text_offset": starts[:-1], "token_logprobs": values, "top_logprobs": top}
        return {"text": text, "logprobs": told, "usage": usage}

    return reply
