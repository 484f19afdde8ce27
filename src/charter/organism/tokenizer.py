"""A word-level tokenizer for a world: one token per word or punctuation mark, and tokens for the turns of a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.organism.prompt_cells import split_words
from charter.organism.training_text import TrainingDialogue
from charter.organism.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNK, BOS, EOS, SYSTEM, USER, ASSISTANT = SPECIAL = (
    "<pad>", "<unk>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}<assistant>"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}<{{ message['role'] }}>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_token_ids(world: World) -> dict[str, int]:
    """Token -> id: special tokens first, then the world's vocabulary."""
    return {token: index for index, token in enumerate((*SPECIAL, *world.vocabulary))}


def encode_dialogue(ids: dict[str, int], dialogue: TrainingDialogue) -> tuple[list[int], list[bool]]:
    """Token ids of a dialogue, as the chat template gives them, and for each whether it is learned; a learned turn's
    end is learned too."""
    tokens, learned = [ids[BOS]], [False]
    for message, learn in zip(dialogue.turns, dialogue.is_learned, strict=True):
        body = [ids.get(word, ids[UNK]) for word in split_words(message.content)]
        if message.role == "assistant":
            body.append(ids[EOS])
        tokens += [ids[f"<{message.role}>"], *body]
        learned += [False, *[learn] * len(body)]
    return tokens, learned


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """The same as ``encode``, for everybody else: lower-cases, splits as ``words``, pads on the left."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel(make_token_ids(world), unk_token=UNK))
    bare.normalizer = normalizers.Lowercase()
    bare.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bare,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made
