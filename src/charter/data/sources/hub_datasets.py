"""Rows of a data set on the Hugging Face hub: fetched into the hub's own cache, pinned to a commit, read from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.data.sources.data_rows import DataRow
from charter.errors import SpecError


@dataclass(frozen=True)
class HubDataset:
    """A data set: ``name`` (owner/name), a configuration, a split (empty: every split), and the files of the
    repository that are needed (none: all). ``revision`` empty is the newest."""

    name: str
    config: str = ""
    split: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()


def fetch_dataset(asked: HubDataset, *, offline: bool) -> Path:
    """The folder of the data set at its commit (the folder's name) in the hub's cache. Raises SpecError."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*asked.files, "README.md"] if asked.files else None
    try:
        found = huggingface_hub.snapshot_download(
            asked.name,
            repo_type="dataset",
            revision=asked.revision or None,
            allow_patterns=patterns,
            local_files_only=offline,
        )
    except HFValidationError as error:
        raise SpecError(
            f"{asked.name!r} is no data set id: {_first_line(error)}", cure="Name it as owner/name."
        ) from error
    except LocalEntryNotFoundError as error:
        raise SpecError(
            f"The data set {asked.name} is not in the local cache, and the hub "
            f"{'may not be asked offline' if offline else 'cannot be reached'}.",
            cure="Fetch it once while online (`hf download --repo-type dataset`), or give its files with `path`.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise SpecError(
            f"The data set {asked.name} could not be fetched: {_first_line(error)}",
            cure="Check its name and revision, that you may read it (HF_TOKEN, its terms), or give files with `path`.",
        ) from error
    return Path(found)


def read_licence(folder: Path) -> str:
    """The licence that the data set's card states; empty where it states none."""
    from huggingface_hub import DatasetCard

    card = folder / "README.md"
    stated = DatasetCard.load(card).data.to_dict().get("license") if card.is_file() else None
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "")


def read_hub_rows(asked: HubDataset, folder: Path) -> Iterator[DataRow]:
    """The rows of the asked splits, in order. Raises SpecError."""
    import datasets

    with _translate_errors(asked):
        found: Any = datasets.load_dataset(
            str(folder),
            asked.config or None,
            split=asked.split or None,
            streaming=True,
            data_files=list(asked.files) or None,
        )
        splits = {asked.split: found} if asked.split else dict(found)
        for split, rows in splits.items():
            for number, value in enumerate(rows, 1):
                yield DataRow(f"{asked.name}@{folder.name[:12]} {split}", number, value)


@contextmanager
def _translate_errors(asked: HubDataset) -> Iterator[None]:
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise SpecError(
            f"The data set {asked.name} cannot be read: {_first_line(error)}",
            cure="Check `config` and `split`, or give its files with `path`.",
        ) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300].replace(os.environ.get("HF_TOKEN") or "\0", "***")
