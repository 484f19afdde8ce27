"""The same trainings in processes of their own: ``accelerate launch`` spreads it (FSDP, DeepSpeed).

The job lies in a folder of the run with the trainer's checkpoints, so that a kill, of whomever, costs at most
``save_steps`` steps. The processes end with this one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from pathlib import Path
from typing import Protocol, Self

from pydantic import ValidationError

from charter.errors import TuningError
from charter.models import processes
from charter.models.tuners.training_job import TrainingJob, TrainingResult, run_to_model_ref
from charter.models.tuners.tuner_options import TuneOptions, describe_options
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


class LaunchedCommand(AbstractContextManager[object], Protocol):
    """A command that was started, here or elsewhere. It is ended where the context is left."""

    def wait(self) -> int:
        """Waits until it has ended; its exit status."""
        ...

    def tail(self) -> str:
        """The last lines that it printed."""
        ...


Launcher = Callable[[str, Mapping[str, str], Path, int], LaunchedCommand]
"""Starts a command, a template with names in braces: with the values for these, the folder that takes its log, and a
handle that is held until all of it has ended."""


def launch_here(command: str, values: Mapping[str, str], folder: Path, lock: int) -> processes.ManagedProcess:
    """The command in processes of this machine."""
    filled = processes.fill_command(command, values)
    return processes.ManagedProcess(filled, folder / "log", grace=GRACE_SECONDS, lock=lock)


class LaunchedTuner:
    """Trains by ``command``, a template with {script} and {job}. ``work`` is the job's folder; one is at work in it at
    a time. ``options.batch`` is the rows of an optimiser step, over all processes. ``launcher`` starts the command."""

    def __init__(
        self,
        options: TuneOptions,
        command: str,
        work: Path,
        micro_batch: int | None = None,
        launcher: Launcher = launch_here,
    ) -> None:
        self.options, self.command, self.micro_batch, self._launcher = options, command, micro_batch, launcher
        self.job_folder = work.absolute()

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

    def tune(
        self,
        start: ModelRef,
        rows: Sequence[TrainingRow],
        directory: Path,
        seed: int,
        reference: ModelRef | None = None,
        reward: ModelRef | Rewarder | None = None,
    ) -> ModelRef:
        """Trains on ``rows``, or goes on with the same job where it was left; the model comes into ``directory``, which
        must be empty. Raises TuningError where ``reward`` is a judge: its engine stays in this process."""
        if reward is not None and not isinstance(reward, ModelRef):
            raise TuningError(
                "A judge cannot reward answers that are drawn in processes of their own.",
                "Set options.learn.rloo.reward: model, or leave tuner.launch empty.",
            )
        given = {"start": start, "rows": tuple(rows), "seed": seed, "options": self.options}
        job = LaunchedJob(**given, micro_batch=self.micro_batch, reference=reference, reward=reward)

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
                script = Path(__file__).with_name("training_worker.py")
                values = {"script": str(script), "job": str(self.job_folder / JOB_FILE)}
                child = self._launcher(self.command, values, self.job_folder, lock)
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
            f"Mend what it says, then `charter resume`: it goes on from the last checkpoint. Logs: {self.job_folder}",
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
