"""The names of steps, each with what its file holds. A step is a file ``FOLDER/NAME.jsonl`` of a run.

``*`` stands for a number or a name: ``round*_pulls`` declares ``round1_pulls``. Methods keep steps under these names,
and reports ask for them; tests hold both to this list. A name seeds the randomness of its step. So a step that draws
draws otherwise under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

SETTING_UP: Mapping[str, str] = {
    "handover": "what a run leaves to the next one, or takes over from the one before",
    "left_out": "rows of files that were skipped, by file and line, each with the reason",
    "calibrations": "how far the judges of this run were found to be right",
    "prompts": "the red-team prompts in the order in which they are drawn",
    "helpful": "ordinary prompts, for replay",
    "supervision": "how much people wrote for this run",
    "constitution": "the rules at the end of an iteration, or those that a method begins with",
    "regions": "groups of alike train prompts, for the bandit over attacks",
}
"""What a run begins with, and what it ends with."""

SCORING: Mapping[str, str] = {
    "gate_exchanges": "the policy's answers to the gate prompts",
    "gate_measurements": "what the evaluator found in them",
    "gate_scores": "the shares of these",
    "heldout_exchanges": "the policy's answers to the held-out prompts",
    "heldout_measurements": "what the evaluator found in them",
    "heldout_scores": "the shares of these",
    "heldout_breakdown": "the same by category, language, source and attack style",
    "bench_abilities": "what the target can do that benchmarks need",
    "bench_left_out": "benchmarks that it cannot take, each with the reason",
    "bench_*_rendered": "the first question as a model in this process reads it",
    "bench_*_choices": "questions to be put in an attack's style",
    "bench_*_attempts*": "what attacks make of them, a file for each turn",
    "bench_*_opened*": "conversations that go on",
    "bench_*_replies*": "what the target says in them",
    "bench_*_continued*": "the questions whose conversation goes on",
    "bench_*_exchanges": "answers to a benchmark's questions",
    "bench_*_likelihoods": "log-likelihoods of its completions",
    "bench_*_baseline": "the starting model's answers, where a benchmark compares with them",
    "bench_*_measurements": "what the benchmark found in each item",
    "bench_*_scores": "its figures",
    "bench_*_cells": "its shares by category, language, source and attack style",
    "gate_bench_abilities": "what the target can do that benchmarks with a gate need",
    "gate_bench_left_out": "empty: a benchmark that cannot be taken ends the run",
    "gate_bench_*_rendered": "as for a benchmark, on its gate part",
    "gate_bench_*_choices": "as for a benchmark, on its gate part",
    "gate_bench_*_attempts*": "as for a benchmark, on its gate part",
    "gate_bench_*_opened*": "as for a benchmark, on its gate part",
    "gate_bench_*_replies*": "as for a benchmark, on its gate part",
    "gate_bench_*_continued*": "as for a benchmark, on its gate part",
    "gate_bench_*_exchanges": "as for a benchmark, on its gate part",
    "gate_bench_*_likelihoods": "as for a benchmark, on its gate part",
    "gate_bench_*_measurements": "as for a benchmark, on its gate part",
    "gate_bench_*_scores": "as for a benchmark, on its gate part",
}
"""Scores of a policy, on gate, held-out and benchmarks."""

ITERATION: Mapping[str, str] = {
    "exchanges": "the policy's answers to the batch",
    "verdicts": "what the judge says of them",
    "stop": "whether enough clean prompts were drawn",
    "plain_findings": "the plain draws that violate",
    "plain_pulls": "the plain draws as the bandit knows them",
    "round*_members": "to which group of alike findings each one belongs",
    "round*_rewards": "every attempt so far, as it counts now",
    "round*_arms": "what is known of each attack style in each region",
    "round*_choices": "which prompts are attacked, and how",
    "round*_attempts*": "what attacks make of them, a file for each turn",
    "round*_opened*": "conversations that go on",
    "round*_replies*": "what the target says in them",
    "round*_continued*": "the choices whose conversation goes on",
    "round*_tried": "what the target is asked, less what must not be asked",
    "round*_exchanges": "the target's answers to the attempts",
    "round*_verdicts": "what the judge says of them",
    "round*_findings": "the attempts that brought out a violation",
    "round*_pulls": "what became of each choice",
    "findings": "the exchanges that violate",
    "clusters": "findings grouped by their texts; half of each group is hidden from the proposer",
    "proposal*_candidates": "wordings of a rule for each cluster, by the proposer; a number for each time asked",
    "proposal*_forms": "what their form and copied words say against them",
    "proposal*_addressed": "whether they tell the assistant what to do, by the judge",
    "proposal*_trials": "shown failures, to be answered under each wording alone",
    "proposal*_answers": "the target's answers to them",
    "proposal*_rechecks": "what the judge says of these answers",
    "proposal*_checks": "what became of each wording, with the reason where it was refused",
    "proposals": "a rule for each cluster, by the proposer; of checked wordings the best one",
    "merged": "the constitution with the new rules, before merged wordings are checked",
    "merged_forms": "as for proposals, of wordings that came of a merging",
    "merged_addressed": "as for proposals, of wordings that came of a merging",
    "merged_trials": "as for proposals, of wordings that came of a merging",
    "merged_answers": "as for proposals, of wordings that came of a merging",
    "merged_rechecks": "as for proposals, of wordings that came of a merging",
    "merged_checks": "as for proposals, of wordings that came of a merging",
    "amended": "the constitution with the new rules",
    "lookalikes": "harmless prompts with a cluster's words and form, by the proposer",
    "further": "further prompts for rules with too few hidden failures",
    "further_exchanges": "the policy's answers to them",
    "further_verdicts": "what the judge says of them",
    "further_findings": "those that violate",
    "widened": "the clusters with these added to their hidden half",
    "trials": "the findings, to be answered again",
    "critiques": "what the model says of each failure under the rules",
    "revisions": "the failures' prompts, answered again",
    "rechecks": "what the judge says of the revisions",
    "single_trials": "hidden failures, under all rules and without each one",
    "single_critiques": "critiques of these",
    "single_revisions": "revisions of these",
    "single_verdicts": "what the judge says of these",
    "redundant_rules": "rules whose absence changes little: another one may cover them",
    "double_trials": "their hidden failures, without both rules",
    "double_critiques": "critiques of these",
    "double_revisions": "revisions of these",
    "double_verdicts": "what the judge says of these",
    "weighed": "the constitution with the efficacy of each rule",
    "complying": "the revisions that comply",
    "helps": "whether they help where safe help exists",
    "kept": "each revision with every reason against it",
    "alarms": "whether too few revisions pass",
    "examples": "the training rows of the kept revisions",
    "rehearsals": "prompts of replay",
    "answers": "the starting model's answers to them",
    "checks": "what the judge says of these answers",
    "benign_trials": "look-alikes that were answered well, to be answered under all rules",
    "benign_critiques": "critiques of these",
    "benign_revisions": "revisions of these",
    "benign_verdicts": "what the judge says of these",
    "blamed_trials": "those that are refused, without each rule of their cluster",
    "blamed_critiques": "critiques of these",
    "blamed_revisions": "revisions of these",
    "blamed_verdicts": "what the judge says of these",
    "breadth": "the constitution with how far each rule reaches",
    "overreaching": "the rules that reach too far",
    "narrowed": "these in new words, by the proposer",
    "replay": "good answers, as training rows",
    "rows": "what the policy is tuned on",
    "target_verdicts": "what the judge says of the rows' answers, where rows are curated",
    "filter_results": "what became of each row, where rows are curated",
    "data_card": "the card of the training set, where rows are curated",
    "curated": "the rows that stay, where rows are curated",
    "policy": "the tuned policy, beside a folder with its files",
    "gates": "what the policy lost on gate",
    "decision": "go on, roll back, give up or stop, with the reason",
}
"""An iteration of IterAlign. Other methods share many of these steps."""

NORMS: Mapping[str, str] = {
    "norm_prompts": "prompts that people's decisions are about, by the proposer",
    "doubtful": "rows of the past that a decision may turn wrong",
    "doubtful_conduct": "what the judge says of their conduct",
    "doubtful_replays": "whether they answer well what is harmless",
    "settled": "what the old run left, without the rows that are wrong now; or the last verdicts of the rounds",
    "allowed_prompts": "prompts that are allowed now",
    "allowed_answers": "the starting model's answers to them",
    "allowed_checks": "what the judge says of these",
    "allowed": "the good ones, as training rows",
    "norm_batch": "prompts that are forbidden now, to be probed",
    "norms_held_prompts": "prompts that check rules in force",
    "norms_held_exchanges": "the policy's answers to them",
    "norms_held_verdicts": "what the judge says of these",
    "norms_withdrawn_prompts": "prompts that check rules that were taken back",
    "norms_withdrawn_exchanges": "the policy's answers to them",
    "norms_withdrawn_verdicts": "what the judge says of these",
}
"""Following what people decided, in a run that goes on from another one."""

PRINCIPLES: Mapping[str, str] = {
    "probed": "prompts that the target answers without rules first",
    "asked": "the prompts that are answered; in rlhf, those whose answers are compared",
    "reasoned": "thoughts and answers under the rules",
    "sifted": "each of them after the filters, with every reason against it",
    "given": "rows of files, with every reason against each",
    "dialogues": "those of them that are learnt",
    "attempts": "answers that are judged by conduct",
    "ordinary": "answers to ordinary prompts",
    "unjudged": "answers that were not judged yet",
    "ordinary_answers": "ordinary answers that the judge is asked about",
    "ordinary_verdicts": "what the judge says of these",
    "asked_again": "prompts of replay, to be answered further times",
    "answers_again": "these answers",
    "judged_answers": "replay answers that the judge is asked about",
    "unchecked": "replay answers that are taken as they are",
    "judged": "first answers that are judged",
    "failures": "those that violate",
    "round*_trials": "answers to be revised, each under principles of its own draw",
    "round*_critiques": "critiques of these",
    "round*_revisions": "revisions of these",
    "round*_asked": "revisions that the judge is asked about",
    "round*_rechecks": "what the judge says of these",
    "round*_carried": "what goes into the next round",
}
"""The methods that begin with rules: self_align, think, engrave, clone and cai."""

SELF_INSTRUCT: Mapping[str, str] = {
    "seeds": "the seeds that may be shown",
    "round*_calls": "what each call of a round shows",
    "round*_written": "what the generator wrote",
    "round*_sifted": "every item after the filters",
    "topics*_calls": "the same for topics",
    "topics*_written": "the same for topics",
    "topics*_sifted": "the same for topics",
    "topics": "the topics that are asked about",
    "questions_calls": "the same for questions",
    "questions_written": "the same for questions",
    "questions_sifted": "the same for questions",
    "seeds_yield": "how many seeds stayed",
    "general_yield": "what the rounds brought",
    "topics_yield": "what the rounds of topics brought",
    "questions_yield": "what the questions brought",
}
"""Prompts that a model writes."""

PREFERENCES: Mapping[str, str] = {
    "answer_ratings": "what the judge found each answer worth, for KTO from verdicts",
    "rated": "answers found good or bad, for KTO from verdicts",
    "asked_redteam": "red-team prompts whose answers are compared",
    "asked_helpful": "ordinary prompts whose answers are compared",
    "copies": "each prompt as often as it is answered",
    "drawn": "these answers",
    "again": "those that are answered again under the rules",
    "pairs": "two answers to one prompt",
    "preferences": "which of them is preferred, in both orders",
    "position": "how far the place of an answer decides",
    "raters": "who prefers, and how far they agree",
    "preferred": "the pairs with what is preferred",
    "usable": "those that are learnt from or checked on",
    "pair_summary": "what became of the pairs",
    "train_pairs": "pairs that are learnt from",
    "validation_pairs": "pairs that only check",
    "answer_rewards": "what the judge gives for replay answers",
    "model": "the reward model",
    "rewards": "its rewards on the check pairs",
    "fit": "how well it tells what is preferred",
    "shown": "chosen answers of the warm-up",
    "mixed": "pairs and replay in one order",
    "policy_without_curve": "the policy without what was seen in its training",
    "sampled": "gate prompts of which the policy's own draws are taken",
    "sample": "these draws",
    "sample_likelihoods": "how likely they are to the policy",
    "sample_before": "how likely they are to the start",
    "pair_answers": "both answers of each check pair",
    "pair_likelihoods": "how likely they are to the policy",
    "refusals": "which gate answers refuse",
    "gate_rewards": "rewards of the gate answers",
    "gate_answers": "the gate answers as the guards see them",
    "policy_stats": "the figures that the guards look at",
}
"""Learning from preferences."""

MEASURING: Mapping[str, str] = {
    "battery": "the prompts of an audit, frozen",
    "measured": "who answered them, and who judged",
    "benchmark*_measurements": "what a benchmark found in the answers",
    "results": "what each answer is worth",
    "labelled": "exchanges with known labels",
    "orders": "pairs in both orders",
    "attackable": "exchanges that violate, to put attacks into",
    "peaceful": "what the judge says of them without an attack",
    "attacks": "the same with an attack on the judge in them",
    "attacked": "what the judge says of these",
    "calibration": "how far the judge is right",
}
"""Audits and calibrations."""

STEPS: Mapping[str, str] = {
    **SETTING_UP,
    **SCORING,
    **ITERATION,
    **NORMS,
    **PRINCIPLES,
    **SELF_INSTRUCT,
    **PREFERENCES,
    **MEASURING,
}
"""Every step by its name, with what its file holds."""

_PATTERNS = tuple(name for name in STEPS if "*" in name)


def is_inner_name(name: str) -> bool:
    """Whether a name from a journal, seal or record names something inside the run: a POSIX path that stays there."""
    return not set(name) & {"\\", "\0"} and all(part not in ("", ".", "..") for part in name.split("/"))


def is_declared(name: str) -> bool:
    """Whether a step's name, without its folder, is one of these."""
    return name in STEPS or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)
