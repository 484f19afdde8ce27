"""The harness's tasks, loaded, and a model of the harness that answers from records."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from charter.errors import CharterError, SpecError
from charter.ports import BenchmarkQuestion
from charter.records.chat import Message, Prompt, Sampling
from charter.records.item_ids import join_id
from charter.records.record import digest
from charter.statistics import draw_stratified

TASK_FOLDER = Path(__file__).parent / "tasks"
FEWSHOT_SEED = 1234
"""Draws examples; the one of the harness's command."""
_CHAT = "\x02chat\x02"
"""Before and after a conversation that the harness hands back to us as a text."""


Document = tuple[dict[str, Any], str]
"""A row of a task's data, with the text that the harness makes of it."""


class HarnessTask(NamedTuple):
    """A task or group by name; ``include``: a folder with further tasks; ``table``: its data, instead of the hub's;
    ``fewshot``: None for the task's own; ``chat``: asked as a conversation; ``limit``: at most so many of each task,
    drawn by hash, of each category its share; ``part``: which of a task's documents are asked, of those with the text
    that the harness makes (None: all)."""

    task: str
    include: str = ""
    table: Sequence[Mapping[str, Any]] | None = None
    fewshot: int | None = None
    chat: bool = False
    limit: int | None = None
    select: Callable[[Sequence[Document]], list[int]] | None = None


def load_tasks(asked: HarnessTask) -> dict[str, Any]:
    """The tasks and groups of a name. The harness reads thousands of files to know all of its own; those whose folder
    begins like the name come first."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    shipped = Path(lm_eval.tasks.__file__).parent
    near = [p for p in sorted(shipped.iterdir()) if p.is_dir() and asked.task.startswith(p.name.rstrip("s_"))]
    given = [Path(asked.include)] if asked.include else []
    manager = TaskManager(include_path=[*near, TASK_FOLDER, *given], include_defaults=False)
    if asked.task not in manager.all_tasks:
        manager = TaskManager(include_path=[TASK_FOLDER, *given])
    if asked.task not in manager.all_tasks:
        raise SpecError(
            f"lm-eval knows no task {asked.task!r}",
            cure="Name one of `lm-eval ls tasks`, or give the folder with your own task files in `include`.",
        )
    if asked.table is None:
        return _set_fewshot(manager.load([asked.task]), asked.fewshot)
    entry = manager.task_index[asked.task]
    if entry.yaml_path is None or "task" not in entry.cfg or not isinstance(entry.cfg["task"], str):
        raise SpecError(f"{asked.task} is no single task", cure="Give `path` with one task, not with a group.")
    return _set_fewshot(manager.load([_with_local_data(entry.yaml_path, asked.table)]), asked.fewshot)


def load_documents(asked: HarnessTask) -> list[Document]:
    """Every document that the tasks of a name are evaluated on, with the text that the harness makes of it. Raises
    SpecError where the data is not at hand."""
    with silence_harness(), translate_errors(asked.task):
        return [document for task in load_tasks(asked)["tasks"].values() for document in _task_documents(task)]


def select_documents(asked: HarnessTask, loaded: Mapping[str, Any]) -> dict[str, list[int]] | None:
    """The documents of each task that are asked, in order; None where all are. Raises SpecError where a task is left
    with none."""
    if asked.select is None and asked.limit is None:
        return None
    found = {name: _drawn(_task_documents(task), asked) for name, task in loaded["tasks"].items()}
    if empty := [name for name, places in found.items() if not places]:
        cure = "Give it more documents (`limit`), or set gate: false."
        raise SpecError(f"{empty[0]} has too few documents to split into gate and held-out", cure=cure)
    return found


def _drawn(documents: Sequence[Document], asked: HarnessTask) -> list[int]:
    """The places of the documents that the limit and then the part take."""
    texts, categories = [text for _, text in documents], [category_of(row) for row, _ in documents]
    places = draw_stratified(texts, categories, asked.limit)
    if asked.select is None:
        return places
    return [places[n] for n in asked.select([documents[place] for place in places])]


def category_of(row: Mapping[str, Any]) -> str:
    """What kind of question a row is, by the columns that say it; empty where none does."""
    named = {str(key).lower(): value for key, value in row.items()}
    return " ".join(str(named[key]) for key in ("category", "subject", "question_index") if named.get(key) is not None)


def _task_documents(task: Any) -> list[Document]:
    return [(dict(doc), str(task.doc_to_text(doc))) for doc in task.eval_docs]


def _set_fewshot(loaded: Any, count: int | None) -> dict[str, Any]:
    """The tasks with their number of examples, as the harness's command sets it: a task that has none stays without."""
    for task in loaded["tasks"].values():
        known = task.get_config("num_fewshot")
        if known != 0:
            task.set_config(key="num_fewshot", value=count if count is not None else known or 0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return dict(loaded)


def _with_local_data(file: Path, table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A task's configuration with local data in place of the hub's, under the split that it is evaluated on."""
    import datasets
    from lm_eval.tasks._yaml_loader import load_yaml

    config: dict[str, Any] = load_yaml(file, resolve_func=True)
    split = config.get("test_split") or config.get("validation_split") or "test"
    rows = [dict(row) for row in table]
    return {**config, "custom_dataset": lambda **_: datasets.DatasetDict({split: datasets.Dataset.from_list(rows)})}


def make_recorded_model(said: Mapping[str, Any] | None, told: list[BenchmarkQuestion]) -> Any:
    """A model of the harness that answers from ``said`` (None: with nothing), and takes down what it is asked."""
    from lm_eval.api.model import LM

    class Recorded(LM):  # type: ignore[misc]
        """Answers that are on record."""

        tokenizer_name = "charter"

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return [(-1.0, False) if one is None else one for one in self._answers(requests)]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            said = f"it weighs {len(requests)} whole texts (perplexity), which is not supported"
            raise SpecError(said, cure="Name another task.")

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return ["" if one is None else one for one in self._answers(requests)]

        def apply_chat_template(self, chat_history: Sequence[Any], add_generation_prompt: bool = True) -> str:
            del add_generation_prompt
            return _CHAT + json.dumps(chat_history) + _CHAT

        def _answers(self, requests: Sequence[Any]) -> list[Any]:
            met: Counter[str] = Counter()
            questions = [_to_question(request, met) for request in requests]
            told.extend(questions)
            return [None if said is None else said.get(question.id) for question in questions]

    return Recorded()


def _to_question(request: Any, met: Counter[str]) -> BenchmarkQuestion:
    """A request of the harness in our words."""
    context, given = request.args[0], request.args[1]
    item = join_id(request.task_name, request.doc_id)
    stem = join_id(item, digest([request.request_type, list(request.args)])[:10])
    number, met[stem] = met[stem], met[stem] + 1
    raw, messages = True, [Message(role="user", content=context)]
    if context.startswith(_CHAT):
        _, turns, prefix = context.split(_CHAT)
        raw, messages = False, [Message(role=turn["role"], content=turn["content"]) for turn in json.loads(turns)]
        if prefix.strip():
            raise SpecError("the task begins the answer itself, which a chat format does not", cure="Set chat: false.")
    prompt = Prompt(id=f"{stem}#{number}", messages=tuple(messages), source=request.task_name)
    weighed = request.request_type == "loglikelihood"
    return BenchmarkQuestion(
        id=f"{stem}#{number}",
        item=item,
        prompt=prompt,
        completion=given if weighed else None,
        raw=raw,
        sampling=None if weighed else _to_sampling(given),
    )


def _to_sampling(given: Mapping[str, Any]) -> Sampling:
    """The harness's arguments for generating; greedy unless they say otherwise."""
    until = given.get("until") or ()
    drawn = bool(given.get("do_sample", float(given.get("temperature") or 0) > 0))
    return Sampling(
        temperature=float(given.get("temperature") or 1.0) if drawn else 0.0,
        top_p=float(given.get("top_p") or 1.0),
        max_tokens=int(given.get("max_gen_toks") or given.get("max_new_tokens") or 256),
        stop=(until,) if isinstance(until, str) else tuple(until),
    )


@contextlib.contextmanager
def silence_harness() -> Iterator[None]:
    """The harness's progress and notes stay out of the way."""
    log = logging.getLogger("lm_eval")
    level = log.level
    try:
        log.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def translate_errors(task: str) -> Iterator[None]:
    """Whatever a task raises, and a harness that is not installed, as a SpecError."""
    try:
        yield
    except ModuleNotFoundError as error:
        cure = "pip install 'charter[lm-eval]', and what the task itself needs."
        raise SpecError(f"the task {task} needs a package that is not installed: {error.name}", cure=cure) from error
    except CharterError:
        raise
    except Exception as error:  # whatever a task's own code raises
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise SpecError(
            f"lm-eval cannot evaluate {task}: {said}", cure="Check `task`, `include` and `path`."
        ) from error
