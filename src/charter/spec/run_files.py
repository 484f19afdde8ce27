"""Files that lie in a run's own folder: a spec names them with ``run:`` before the name, so that a run can be moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charter.spec.prompt_spec import SourceSpec
from charter.spec.run_spec import Spec

IN_RUN = "run:"
"""What stands before the name of a file in the run's folder."""


def place_files(spec: Spec, folder: Path) -> Spec:
    """The spec with the whole paths of files that lie in the run's ``folder``."""

    def place(path: str) -> str:
        return str(folder / path.removeprefix(IN_RUN)) if path.startswith(IN_RUN) else path

    def place_sources(asked: str | Sequence[SourceSpec]) -> str | tuple[SourceSpec, ...]:
        if isinstance(asked, str):
            return asked
        return tuple(
            one.model_copy(update={"path": place(one.path)}) if one.path.startswith(IN_RUN) else one for one in asked
        )

    prompts = {kind: place_sources(getattr(spec.prompts, kind)) for kind in ("redteam", "helpful")}
    learn = spec.options.learn
    pairs, kto = (one.model_copy(update={"files": tuple(map(place, one.files))}) for one in (learn.pairs, learn.kto))
    learn = learn.model_copy(update={"pairs": pairs, "kto": kto})
    options = spec.options.model_copy(update={"learn": learn})
    return spec.model_copy(update={"prompts": spec.prompts.model_copy(update=prompts), "options": options})
