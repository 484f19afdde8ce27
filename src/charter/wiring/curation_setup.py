"""The tools that curate training rows, built from a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from charter.data.curation.curation_records import CurationTools, Detector
from charter.records.chat import Prompt
from charter.spec import CurationSpec, Spec
from charter.stages.curate import CurationSetup
from charter.wiring.plugins import load_object

if TYPE_CHECKING:
    from charter.wiring.benchmark_suite import SpecBenchmarks


WORLD_LICENCE = "made by charter's world"
"""What stands for the licence of a world's prompts."""


def build_tools(options: CurationSpec) -> CurationTools:
    """The recognisers and the teller of languages that these filters need."""
    from charter.data.detectors.language_detector import LangidDetector
    from charter.data.detectors.pii_detector import PiiDetector
    from charter.data.detectors.secret_detector import SecretDetector

    own = tuple(load_object(name, Detector) for name in options.detectors)
    return CurationTools(
        detectors=(SecretDetector(), PiiDetector(), *own) if options.mask else (),
        language_detector=LangidDetector() if options.language_share < 1 else None,
    )


def build_curation_setup(
    spec: Spec, held: Mapping[str, Sequence[Prompt]], known: Sequence[Prompt], benchmarks: SpecBenchmarks
) -> CurationSetup | None:
    """What a run's rows are sifted with, clear of ``held`` and of what the benchmarks ask; None where the spec asks for
    nothing."""
    options = spec.options.curate
    if not options.enabled:
        return None
    protected = {name: [p.text for p in prompts] for name, prompts in held.items()} | benchmarks.texts_by_name
    return CurationSetup(protected, build_tools(options), [_state_licence(p) for p in known], benchmarks.uncovered)


def _state_licence(prompt: Prompt) -> Prompt:
    """A prompt that says whose it is."""
    if not prompt.source.startswith("world:") or prompt.meta.get("licence"):
        return prompt
    return prompt.model_copy(update={"meta": {**prompt.meta, "licence": WORLD_LICENCE}})
