"""The same trainings in processes of their own: ``accelerate launch`` spreads it (FSDP, DeepSpeed).

The job lies in a folder of the run with the trainer's checkpoints, so that a kill, of whomever, costs at most
``save_steps`` steps. The processes end with this one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from charter.errors import TuningError
from charter.models import processes
from charter.models.tuners.training_job import TrainingJob, TrainingResult, run_to_model_ref
from charter.models.tuners.tuner_options import RlooOptions, TunerOptions, describe_options
from charter.ports import Rewarder
from charter.records.model_refs import ModelRef
from charter.records.record import Record, canonical
from charter.records.training_rows import TrainingRow

JOB_FILE, RESULT_FILE, FAILURE_FILE, POLICY_FOLDER, CHECKPOINT_FOLDER = (
    "job.json",
    "done.json",
    "failed.json",
    "policy",
    "checkpoints",
)
GRACE_SECONDS = 10.0


class LaunchedJob(TrainingJob):
    """What a child trains. It writes ``policy/`` beside the job's file, then ``done.json``; or ``failed.json``."""

    micro_batch: int | None = None
    """Rows at a time in one process; the rest of a step's rows are accumulated. None: a step's rows at once."""


class TrainingFailure(Record):
    """What the child says went wrong, and the cure."""

    message: str
    cure: str = ""


class LaunchedTuner:
    """Trains by ``command``, a template with {script} and {job}. ``work`` is the job's folder; one is at work in it at
    a time. ``options.batch`` is the rows of an optimiser step, over all processes."""

    def __init__(self, options: TunerOptions, command: str, work: Path, micro_batch: int | None = None) -> None:
        self.options, self.command, self.job_folder, self.micro_batch = options, command, work, micro_batch

    @property
    def identity(self) -> str:
        """Kind, hyperparameters and command, as canonical JSON."""
        how = describe_options(self.options)
        how |= {"tuner": f"launched {how['tuner']}", "command": self.command, "micro_batch": self.micro_batch}
        return canonical(how)

    def with_lr_scale(self, share: float) -> Self:
        """The same with this share of the learning rate."""
        other = copy(self)
        other.options = self.options.model_copy(update={"lr": self.options.lr * share})
        return other

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        """Trains on ``rows``, or goes on with the same job where it was left; the model comes into ``directory``,
        which must be empty."""
        return self._run_to_model_ref(self._make_job(start, rows, seed), directory)

    def _make_job(self, start: ModelRef, rows: Sequence[TrainingRow], seed: int, **more: ModelRef) -> LaunchedJob:
        return LaunchedJob(
            start=start, rows=tuple(rows), seed=seed, options=self.options, micro_batch=self.micro_batch, **more
        )

    def _run_to_model_ref(self, job: LaunchedJob, directory: Path) -> ModelRef:
        def do() -> TrainingResult:
            done = self._run_job(job)
            for path in sorted((self.job_folder / POLICY_FOLDER).iterdir()):
                path.rename(directory / path.name)
            return done

        return run_to_model_ref(job, directory, do)

    def _run_job(self, job: LaunchedJob) -> TrainingResult:
        """Has the job done by children. Raises TuningError with what they said."""
        try:
            with processes.exclusive_lock(self.job_folder / "lock", 3 * GRACE_SECONDS) as lock:
                self._prepare_folder(job)
                script = Path(__file__).with_name("child.py")
                command = processes.fill_command(
                    self.command, {"script": str(script), "job": str(self.job_folder / JOB_FILE)}
                )
                child = processes.ManagedProcess(command, self.job_folder / "log", grace=GRACE_SECONDS, lock=lock)
        except TimeoutError as error:
            raise TuningError(
                f"Another training of this run is still at work ({self.job_folder}).", "End it, then `charter resume`."
            ) from error
        with child:
            status = child.wait()
        if status == 0 and (self.job_folder / RESULT_FILE).is_file():
            return TrainingResult.model_validate_json((self.job_folder / RESULT_FILE).read_bytes())
        if (self.job_folder / FAILURE_FILE).is_file():
            failed = TrainingFailure.model_validate_json((self.job_folder / FAILURE_FILE).read_bytes())
            raise TuningError(failed.message, failed.cure)
        raise TuningError(
            f"The command in tuner.launch ended with status {status}. It said last:\n{child.tail()}",
            "Mend what it says, then `charter resume`: it goes on from the last checkpoint. "
            f"Log: {self.job_folder / 'log'}",
        )

    def _prepare_folder(self, job: LaunchedJob) -> None:
        """Writes the job down; what an earlier one left is removed, but for the checkpoints of the same job."""
        for name in (RESULT_FILE, FAILURE_FILE):
            (self.job_folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.job_folder / POLICY_FOLDER, ignore_errors=True)
        try:
            same = LaunchedJob.model_validate_json((self.job_folder / JOB_FILE).read_bytes()) == job
        except (OSError, ValidationError):
            same = False
        if not same:
            shutil.rmtree(self.job_folder / CHECKPOINT_FOLDER, ignore_errors=True)
            (self.job_folder / JOB_FILE).write_text(canonical(job), encoding="utf-8")
        (self.job_folder / POLICY_FOLDER).mkdir()


class LaunchedRlooFactory(LaunchedTuner):
    """Makes tuners that practise in processes of their own. A judge's engine stays in this process, so only a reward
    model can say what answers are worth."""

    def __init__(self, options: RlooOptions, command: str, work: Path, micro_batch: int | None = None) -> None:
        super().__init__(options, command, work, micro_batch)

    def bind(self, reference: ModelRef, reward: ModelRef | Rewarder) -> LaunchedRlooTuner:
        """A tuner that is held to ``reference``. Raises TuningError where ``reward`` is no reward model."""
        if not isinstance(reward, ModelRef):
            raise TuningError(
                "A judge cannot reward answers that are drawn in processes of their own.",
                "Set options.learn.reward: model, or leave tuner.launch empty.",
            )
        return LaunchedRlooTuner(self, reference, reward)


class LaunchedRlooTuner:
    """Trains a policy on prompts, in processes of its own."""

    def __init__(self, launched: LaunchedRlooFactory, reference: ModelRef, reward: ModelRef) -> None:
        self._factory, self.reference, self.reward = launched, reference, reward

    @property
    def identity(self) -> str:
        """As of what made it."""
        return self._factory.identity

    def with_lr_scale(self, share: float) -> LaunchedRlooTuner:
        """The same with this share of the learning rate."""
        return LaunchedRlooTuner(self._factory.with_lr_scale(share), self.reference, self.reward)

    def tune(self, start: ModelRef, rows: Sequence[TrainingRow], directory: Path, seed: int) -> ModelRef:
        """Trains on the prompts ``rows``, or goes on with the same job where it was left."""
        job = self._factory._make_job(start, rows, seed, reference=self.reference, reward=self.reward)
        return self._factory._run_to_model_ref(job, directory)
