"""Models on disk and on the hub (a small hub of our own, on loopback), and how messages become tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from charter.errors import EngineError
from charter.models import weights
from charter.models.chat_format import ChatFormat
from charter.models.engines.local_engine import LocalEngine
from charter.models.engines.local_options import LocalOptions
from charter.models.merged_weights import merge_adapter
from charter.models.tuners.local_tuner import LocalTuner
from charter.models.tuners.tuner_options import SftOptions
from charter.records.chat import Message
from tests.fakes import architectures, tiny_models

pytestmark = pytest.mark.slow

COMMIT = "c0ffee" * 6 + "beef"


class Hub(BaseHTTPRequestHandler):
    """Serves one model, ``tiny/model``, at one commit."""

    protocol_version = "HTTP/1.1"

    def __init__(self, files: Path, *args: Any) -> None:
        self.files = files
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        api, _, name = self.path.partition(f"/resolve/{COMMIT}/")
        if api in ("/api/models/tiny/model/revision/main", f"/api/models/tiny/model/revision/{COMMIT}"):
            names = [{"rfilename": path.name} for path in self.files.iterdir()]
            self._send(json.dumps({"id": "tiny/model", "sha": COMMIT, "siblings": names}).encode())
        elif api.startswith(f"/api/models/tiny/model/tree/{COMMIT}"):
            found = [(path.name, path.stat().st_size) for path in self.files.iterdir()]
            self._send(json.dumps([{"type": "file", "path": n, "size": s, "oid": n} for n, s in found]).encode())
        elif api == "/tiny/model" and (self.files / name).is_file():
            self._send((self.files / name).read_bytes(), tag=name)
        else:
            self._send(b"{}", status=404)

    def _send(self, data: bytes, tag: str = "x", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    from huggingface_hub import constants

    where = tiny_models.build(tmp_path / "model")
    (where / "pytorch_model.bin").write_bytes(b"pickles are not fetched")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, where))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    place = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", place)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_model_is_pinned_to_its_commit_and_answers(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert hub.server_address[0] == "127.0.0.1"
    model = weights.resolve_model("tiny/model")
    assert (model.base, model.revision) == ("tiny/model", COMMIT)
    assert model.digest == weights.resolve_model(str(tmp_path / "model")).digest
    assert not list((tmp_path / "cache").rglob("*.bin"))
    asked = [tiny_models.ask("a", "how do i", max_tokens=5)]
    fetched = list(LocalEngine(model, LocalOptions(device="cpu", offline=True)).generate(asked))
    beside = LocalEngine(weights.resolve_model(str(tmp_path / "model")), LocalOptions(device="cpu"))
    assert fetched == list(beside.generate(asked))
    with pytest.raises(EngineError, match="no/such"):
        weights.resolve_model("no/such")
    with pytest.raises(EngineError, match="cache") as caught:
        weights.resolve_model("other/model", offline=True)
    assert "hf download" in caught.value.cure


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_model_answers_as_base_and_adapter_do(dtype: str, tmp_path: Path) -> None:
    import torch

    base = tiny_models.build(tmp_path / "base")
    with weights.quiet_libraries():
        weights.load_model(base, "cpu").to(getattr(torch, dtype)).save_pretrained(str(base))
    start = weights.resolve_model(str(base))
    rows = [tiny_models.lesson("a", "how do i bake a cake", "use flour and eggs")]
    policy = LocalTuner(SftOptions(device="cpu", lr=2e-2, epochs=20)).tune(start, rows, tmp_path / "policy", 0)
    merged = merge_adapter(policy, tmp_path / "merged")
    assert not list(merged.glob("adapter*"))
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        one = weights.load_model(merged, "cpu")
        two = weights.attach_adapter(weights.load_model(base, "cpu"), tmp_path / "policy")
        plain, difference = weights.load_model(base, "cpu"), (one(ids).logits - two(ids).logits).abs().max().item()
        assert (plain(ids).logits - two(ids).logits).abs().max().item() > 1
    assert difference <= (1e-4 if dtype == "float32" else 1.0)
    assert json.loads((merged / "config.json").read_text())["dtype"] == dtype
    answer = [
        c.text
        for c in LocalEngine(weights.resolve_model(str(merged))).generate(
            [tiny_models.ask("a", "how do i bake a cake")]
        )
    ]
    assert answer == ["use flour and eggs"]


def test_merging_nothing_gives_the_base_s_own_files(tmp_path: Path) -> None:
    start = weights.resolve_model(str(tiny_models.build(tmp_path / "base")))
    assert weights.resolve_model(str(merge_adapter(start, tmp_path / "merged"))).digest == start.digest


def cached(where: Path, model: Path, commits: tuple[str, ...] = (COMMIT,)) -> None:
    """A cache folder as the hub's client lays it out: blobs, snapshots by commit that link to them, refs by name; the
    last commit is the newest."""
    place = where / "models--tiny--model"
    for folder in ("blobs", "refs"):
        (place / folder).mkdir(parents=True)
    for commit in commits:
        (place / "snapshots" / commit).mkdir(parents=True)
        for path in model.iterdir():
            blob = place / "blobs" / f"{commit[:6]}-{path.name}"
            blob.write_bytes(path.read_bytes())
            (place / "snapshots" / commit / path.name).symlink_to(f"../../blobs/{blob.name}")
    (place / "refs" / "main").write_text(commits[-1])
    (place / "refs" / "v1").write_text(commits[0])


def test_a_cached_hub_model_is_resolved_offline_to_commit_and_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model, newest = tiny_models.build(tmp_path / "model"), "d" * 40
    cached(tmp_path / "cache", model, (COMMIT, newest))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    beside = weights.resolve_model(str(model))
    for asked, commit in (("", newest), ("main", newest), ("v1", COMMIT), (COMMIT, COMMIT)):
        found = weights.resolve_model("tiny/model", asked, offline=True)
        assert (found.base, found.revision, found.base_digest) == ("tiny/model", commit, beside.base_digest)
    assert weights.model_folder(found).name == COMMIT
    assert LocalEngine(found, LocalOptions(device="cpu")).describe()["revision"] == COMMIT
    with pytest.raises(EngineError, match="cache"):
        weights.resolve_model("tiny/model", "no-such-branch", offline=True)


def test_a_run_goes_on_from_the_commit_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was pushed to the hub since. Another target starts from its own newest commit."""
    from huggingface_hub import constants

    from charter import spec
    from charter.jobs import collect_environment
    from charter.jobs.launch import _known
    from charter.wiring.components import Components

    cached(tmp_path / "cache", tiny_models.build(tmp_path / "model"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = spec.parse_spec("world: village\ntarget: {model: tiny/model}\n")
    before = Components(asked)
    (tmp_path / "environment.json").write_text(json.dumps(collect_environment(before.describe())))
    refs = tmp_path / "cache" / "models--tiny--model"
    (refs / "snapshots" / COMMIT).rename(refs / "snapshots" / "moved")
    (refs / "snapshots" / COMMIT).symlink_to("moved")
    (refs / "snapshots" / ("e" * 40)).symlink_to("moved")
    (refs / "refs" / "main").write_text("e" * 40)
    assert Components(asked).start.revision == "e" * 40
    assert Components(asked, str(_known(tmp_path, asked)["revision"])).start == before.start
    assert _known(tmp_path, spec.parse_spec("world: village\ntarget: {model: other/model}\n")) == {}


def test_names_that_are_neither_folder_nor_hub_id() -> None:
    for name in ("./nowhere", "/no/such/folder", "a/b/c", "what is this?"):
        with pytest.raises(EngineError) as caught:
            weights.resolve_model(name)
        assert caught.value.cure


class TestDialogue:
    """``lesson`` and ``pair`` keep the prompt's tokens as ``prompt`` has them."""

    turns = (
        Message(role="user", content="how do i"),
        Message(role="assistant", content="no"),
        Message(role="user", content="please"),
    )

    @pytest.mark.parametrize("chat", [True, False])
    @pytest.mark.parametrize("answer", ["yes", "no no", "use flour and eggs", "please"])
    def test_seams(self, chat: bool, answer: str) -> None:
        dialogue = ChatFormat(tiny_models.word_tokenizer(chat=chat))
        prompt = dialogue.encode_prompt(self.turns)
        assert (
            dialogue.encode_training(self.turns, answer)[0] == dialogue.encode_scored(self.turns, answer)[0] == prompt
        )
        words = dialogue.tokenizer.convert_tokens_to_ids(answer.split())
        assert dialogue.encode_scored(self.turns, answer)[1] == words
        assert dialogue.encode_training(self.turns, answer)[1] == [*words, dialogue.tokenizer.eos_token_id]

    def test_the_template_s_own_end_token_ends_the_lesson(self) -> None:
        tokenizer = tiny_models.word_tokenizer()
        tokenizer.chat_template = tiny_models.CHAT.replace("{{ eos_token }}", "<user>")
        end = tokenizer.convert_tokens_to_ids("<user>")
        assert ChatFormat(tokenizer, [end]).encode_training(self.turns, "yes")[1][-1] == end
        assert ChatFormat(tokenizer, []).encode_training(self.turns, "yes")[1][-1] == tokenizer.eos_token_id

    def test_the_plain_format_of_models_without_a_template(self) -> None:
        tokenizer = architectures.bpe_tokenizer(architectures.ZOO["gpt_neox"])
        dialogue = ChatFormat(tokenizer)
        turns = (Message(role="system", content="be good"), *self.turns)
        text = "be good\n\nUser: how do i\n\nAssistant: no\n\nUser: please\n\nAssistant:"
        assert tokenizer.decode(dialogue.encode_prompt(turns)) == text
        before, after = dialogue.encode_training(turns, "yes")
        assert tokenizer.decode([*before, *after]) == f"{text} yes<|endoftext|>"
        assert dialogue.stop_texts == ("\nUser:",)
        assert "plain format" in dialogue.description
        assert ChatFormat(tokenizer, plain=True).stop_texts == ()

    @pytest.mark.parametrize("name", ["llama", "gemma3", "mistral"])
    def test_system_words_come_before_the_user_s_where_the_template_has_no_system_turn(self, name: str) -> None:
        """Whether the template refuses system turns or drops them without a word."""
        species = architectures.ZOO[name]
        tokenizer = architectures.bpe_tokenizer(species) if species.special else tiny_models.word_tokenizer()
        tokenizer.chat_template = species.template
        dialogue = ChatFormat(tokenizer)
        system = Message(role="system", content="be good")
        folded = (Message(role="user", content="be good\n\nhow do i"), *self.turns[1:])
        assert dialogue.encode_prompt((system, *self.turns)) == dialogue.encode_prompt(folded)
        assert dialogue.encode_training((system, *self.turns), "yes") == dialogue.encode_training(folded, "yes")
        assert dialogue.encode_prompt((system,)) == dialogue.encode_prompt((Message(role="user", content="be good"),))
        assert dialogue.description == "its chat template, system turns before the next user turn"

    def test_system_turns_are_their_own_where_the_template_has_them(self) -> None:
        tokenizer = architectures.bpe_tokenizer(architectures.ZOO["qwen3"])
        tokenizer.chat_template = architectures.CHATML
        dialogue = ChatFormat(tokenizer)
        turns = (Message(role="system", content="be good"), *self.turns)
        assert tokenizer.decode(dialogue.encode_prompt(turns)).startswith(
            "<|im_start|>system\nbe good<|im_end|>\n<|im_start|>user"
        )
        assert dialogue.description == "its chat template, system turns as such"

    def test_arguments_reach_the_chat_template(self) -> None:
        """A template that thinks unless it is told not to: what is trained then is the answer alone."""
        tokenizer = architectures.bpe_tokenizer(architectures.ZOO["qwen3"])
        thinking = "{% if enable_thinking is defined and not enable_thinking %}-{% endif %}"
        tokenizer.chat_template = (
            "{% for m in messages %}{{ '-' if m.role == 'assistant' }}{{ m.content }}{% endfor %}"
            f"{{% if add_generation_prompt %}}{thinking}{{% endif %}}"
        )
        turn = (Message(role="user", content="how"),)
        for arguments, learnt in (({}, "-yes"), ({"enable_thinking": False}, "yes")):
            after = ChatFormat(tokenizer, arguments=arguments).encode_training(turn, "yes")[1]
            assert tokenizer.decode(after, skip_special_tokens=True) == learnt

    def test_a_template_that_rewrites_the_prompt_is_refused(self) -> None:
        tokenizer = tiny_models.word_tokenizer()
        tokenizer.chat_template = "{% if add_generation_prompt %}one{% else %}two{% endif %}"
        with pytest.raises(ValueError, match="renders the prompt differently"):
            ChatFormat(tokenizer).encode_training(self.turns, "yes")

    def test_tokens_that_run_over_the_seam_are_read_apart(self) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        inner = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "</s>": 3}, [("a", "b")]))
        inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        kind: Any = PreTrainedTokenizerFast
        tokenizer = kind(tokenizer_object=inner, eos_token="</s>")
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        dialogue, turn = ChatFormat(tokenizer), (Message(role="user", content="a"),)
        assert dialogue.encode_prompt(turn) == [0]
        assert dialogue.encode_scored(turn, "b") == ([0], [1])
        assert dialogue.encode_training(turn, "b") == ([0], [1, 3])
