"""What a user asks for: one YAML file, validated whole before anything runs.

``models``: who plays which part; ``prompts``: where they come from; ``benchmarks``: what is measured beside;
``options``: the method's switches; ``instructing``: those of self-instruct; ``whole``: all of it; ``reading``: from
text, with every fault at once; ``chaining``: a chain of methods, taken apart.
"""

from charter.spec.benchmarks import BenchmarkSpec
from charter.spec.curating import Curating
from charter.spec.instructing import Instructing, TopicGuided
from charter.spec.learning import Comparing, Guarding, Learning, Practising, Preferring, Rewarding
from charter.spec.models import PROGRAM, ErrorsSpec, OracleSpec, TargetSpec, TunerSpec
from charter.spec.options import (
    Amending,
    Attacking,
    Clustering,
    Contrasting,
    Draw,
    Gating,
    Judging,
    Keeping,
    Measuring,
    Options,
    Proposing,
    Reflecting,
    Replaying,
    Scale,
    Stopping,
    Tuning,
)
from charter.spec.prompts import Columns, KeptOut, PromptsSpec, SourceSpec
from charter.spec.reading import chained, changed, curating, parse, read, recipes
from charter.spec.ruled import Constitutional, SelfAligning
from charter.spec.whole import AuditSpec, Budget, CalibrateSpec, GoOn, Spec

__all__ = [
    "PROGRAM",
    "Amending",
    "Attacking",
    "AuditSpec",
    "BenchmarkSpec",
    "Budget",
    "CalibrateSpec",
    "Clustering",
    "Columns",
    "Comparing",
    "Constitutional",
    "Contrasting",
    "Curating",
    "Draw",
    "ErrorsSpec",
    "Gating",
    "GoOn",
    "Guarding",
    "Instructing",
    "Judging",
    "Keeping",
    "KeptOut",
    "Learning",
    "Measuring",
    "Options",
    "OracleSpec",
    "Practising",
    "Preferring",
    "PromptsSpec",
    "Proposing",
    "Reflecting",
    "Replaying",
    "Rewarding",
    "Scale",
    "SelfAligning",
    "SourceSpec",
    "Spec",
    "Stopping",
    "TargetSpec",
    "TopicGuided",
    "TunerSpec",
    "Tuning",
    "chained",
    "changed",
    "curating",
    "parse",
    "read",
    "recipes",
]
