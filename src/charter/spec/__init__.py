"""What a user asks for: one YAML file, validated whole before anything runs.

``model_spec``: who plays which part. ``executor_spec``: where they answer. ``prompt_spec``: where prompts come from.
``benchmark_spec``: what is measured beside. ``method_options``: the switches of the methods. ``run_spec``: all of it.
``spec_parser``: from text, with every fault at once. ``chain_spec``: the steps of a chain. ``option_reference``: what
each key means.
"""

from charter.spec.benchmark_spec import BenchmarkSpec
from charter.spec.curation_spec import CurationSpec
from charter.spec.executor_spec import ExecutorSpec
from charter.spec.method_options import (
    AmendSpec,
    AttackSpec,
    ClusterSpec,
    GateSpec,
    JudgingSpec,
    LookalikeSpec,
    MethodOptions,
    ProposeSpec,
    RatifySpec,
    ReflectSpec,
    ReplaySpec,
    RuleMeasurementSpec,
    StopSpec,
    TrainingSpec,
    VerifySpec,
)
from charter.spec.model_spec import (
    NO_MODEL,
    PROGRAM_PREFIX,
    ClassifierSpec,
    ErrorsSpec,
    OracleSpec,
    TargetSpec,
)
from charter.spec.notify_spec import NotifySpec
from charter.spec.preference_spec import (
    DpoSpec,
    KtoSpec,
    PreferenceDataSpec,
    RewardModelSpec,
    RLGuardSpec,
    RlhfSpec,
    RlooSpec,
)
from charter.spec.principle_spec import CaiSpec, SelfAlignSpec
from charter.spec.prompt_spec import WORLD_SOURCE, Columns, DrawSpec, KeepOutSpec, PromptsSpec, SourceSpec
from charter.spec.run_files import IN_RUN, place_files
from charter.spec.run_spec import (
    PARQUET_ABOVE_MB,
    AuditSpec,
    Budget,
    CalibrateSpec,
    ContinueFrom,
    LabelledColumnsSpec,
    LabelledFileSpec,
    LabelledName,
    Spec,
)
from charter.spec.scale_spec import ScaleSpec
from charter.spec.self_instruct_spec import SelfInstructSpec, TopicGuidedSpec
from charter.spec.spec_parser import change_curation, change_spec, list_recipes, parse_spec, read_spec, split_chain
from charter.spec.tuner_spec import TunerSpec

__all__ = [
    "IN_RUN",
    "NO_MODEL",
    "PARQUET_ABOVE_MB",
    "PROGRAM_PREFIX",
    "WORLD_SOURCE",
    "AmendSpec",
    "AttackSpec",
    "AuditSpec",
    "BenchmarkSpec",
    "Budget",
    "CaiSpec",
    "CalibrateSpec",
    "ClassifierSpec",
    "ClusterSpec",
    "Columns",
    "ContinueFrom",
    "CurationSpec",
    "DpoSpec",
    "DrawSpec",
    "ErrorsSpec",
    "ExecutorSpec",
    "GateSpec",
    "JudgingSpec",
    "KeepOutSpec",
    "KtoSpec",
    "LabelledColumnsSpec",
    "LabelledFileSpec",
    "LabelledName",
    "LookalikeSpec",
    "MethodOptions",
    "NotifySpec",
    "OracleSpec",
    "PreferenceDataSpec",
    "PromptsSpec",
    "ProposeSpec",
    "RLGuardSpec",
    "RatifySpec",
    "ReflectSpec",
    "ReplaySpec",
    "RewardModelSpec",
    "RlhfSpec",
    "RlooSpec",
    "RuleMeasurementSpec",
    "ScaleSpec",
    "SelfAlignSpec",
    "SelfInstructSpec",
    "SourceSpec",
    "Spec",
    "StopSpec",
    "TargetSpec",
    "TopicGuidedSpec",
    "TrainingSpec",
    "TunerSpec",
    "VerifySpec",
    "change_curation",
    "change_spec",
    "list_recipes",
    "parse_spec",
    "place_files",
    "read_spec",
    "split_chain",
]
