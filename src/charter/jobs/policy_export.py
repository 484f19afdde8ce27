"""A finished run's policy, written out for others: adapter or merged model, with a model card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import CharterError, DamagedError, EngineError, StoreError
from charter.models import weights
from charter.models.merged_weights import merge_adapter
from charter.records.chat import Exchange, Request, Sampling
from charter.records.model_refs import ModelRef
from charter.reports.integrity import verify_run
from charter.reports.model_card import ExportedPolicy, render_model_card
from charter.reports.paired_tests import FINAL_STEP
from charter.runs.reader import RunReader
from charter.wiring import role_models

MODEL_CARD_FILE = "README.md"
_MERGE_CHECK_TOKENS = 64
_FARTHEST = 0.05
"""Most that a logit may move by adding up or by saving; float32 moves it by 1e-4 and less."""

if TYPE_CHECKING:
    from charter.models.engines.merge_check import MergeCheck


def export_policy(directory: Path, out: Path, merge: bool = False, check: int = 16) -> ExportedPolicy:
    """Writes the policy of the run into ``out``, which must not be there yet, and gives what the card describes.
    ``merge``: one model with its tokenizer instead of an adapter, compared with base + adapter on ``check`` held-out
    prompts. Raises StoreError, DamagedError, EngineError; then nothing is left behind."""
    reading = RunReader(directory)
    policy = _final_policy(reading)
    _require_exportable(directory, out)
    new = out.with_name(f".{out.name}.new")
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        exported = _write_weights(reading, policy, new, merge, check)
        (new / MODEL_CARD_FILE).write_text(render_model_card(reading, exported), encoding="utf-8")
        new.replace(out)
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}", "Make room, or choose another folder.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return exported


def _final_policy(reading: RunReader) -> ModelRef:
    """The policy that a finished, undamaged run ended with, its files those of the run's results."""
    place = reading.directory
    if reading.head is None:
        raise StoreError(f"{place} is not finished, so it has no results to export", f"Go on: charter resume {place}")
    found = verify_run(place)
    if not found.ok:
        raise DamagedError(f"{place} is damaged: {found.faults[0]}", f"Restore it; all faults: charter verify {place}")
    policy = ModelRef.model_validate(reading.outcome["policy"]) if reading.outcome.get("policy") else None
    if policy is None or policy.adapter is None:
        raise StoreError(
            f"{place} ended with the starting model: no policy was accepted, so there is nothing to export",
            "Read why in its report: charter report.",
        )
    return policy.under(str(place / "adapter"))


def _require_exportable(directory: Path, out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already, and nothing is overwritten", "Choose another folder with --out.")
    if out.resolve().is_relative_to(directory.resolve()):
        raise StoreError(f"{out} is inside the run, whose files are sealed", "Choose a folder outside it with --out.")


def _write_weights(reading: RunReader, policy: ModelRef, new: Path, merge: bool, check: int) -> ExportedPolicy:
    """Writes the weights and what they need."""
    files = weights.verify_files(policy)
    adapter = weights.is_adapter(files)
    if not (merge and adapter):
        shutil.copytree(files, new)
        return ExportedPolicy(kind="adapter" if adapter else "checkpoint", policy=policy)
    spec = reading.spec
    base = role_models.resolve_start(spec, role_models.load_world(spec), policy.revision)
    if base.base_digest != policy.base_digest:
        raise EngineError(
            f"{base.base} is not the base model that the run began with: its files have changed.",
            "Restore them, or export without --merge.",
        )
    policy = policy.model_copy(update={"base": base.base})
    merge_adapter(policy, new, offline=spec.offline, remote_code=spec.target.remote_code)
    if not check:
        return ExportedPolicy(kind="merged", policy=policy, alike="")
    try:
        found = _merge_check_line(reading, policy, new, check)
    except CharterError as error:
        cure = "Export without comparing: --check 0"
        raise EngineError(f"The merged model could not be compared: {error.message}", cure) from error
    if max(found.max_logit_difference, found.saved) > _FARTHEST:
        raise EngineError(
            f"The merged model does not answer as its policy: the largest difference of logits is "
            f"{found.max_logit_difference:.1e} "
            f"where the weights are added up, and {found.saved:.1e} where they are read from what was saved.",
            "Export the adapter itself, without --merge.",
        )
    return ExportedPolicy(kind="merged", policy=policy, alike=_describe_likeness(found))


def _merge_check_line(reading: RunReader, policy: ModelRef, merged: Path, check: int) -> MergeCheck:
    from charter.models.engines.local_options import LocalOptions
    from charter.models.engines.merge_check import check_merge

    spec = reading.spec
    prompts = [e.prompt for e in reading.records(f"{FINAL_STEP}_exchanges", Exchange)][:check]
    sampling = Sampling(max_tokens=min(_MERGE_CHECK_TOKENS, spec.scale.answer_tokens), stop=spec.scale.stop)
    requests = [Request(id=p.id, messages=p.messages, sampling=sampling) for p in prompts]
    options = LocalOptions.model_validate(role_models.build_local_engine(spec, policy).options)
    if date := reading.environment.get("target", {}).get("date"):
        options = options.model_copy(update={"today": str(date)})
    return check_merge(policy, weights.resolve_model(str(merged)), requests, options)


def _describe_likeness(found: MergeCheck) -> str:
    return (
        f"Merged and base + adapter, compared on {found.n} held-out prompts: the largest difference of logits is "
        f"{found.max_logit_difference:.1e} in float32, {found.saved:.1e} by saving; "
        f"{found.equal_answers} of {found.n} greedy answers are the "
        f"same in {found.dtype}."
    )
