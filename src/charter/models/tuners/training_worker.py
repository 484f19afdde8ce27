"""What a launcher runs, once in each process: trains the job in a file (``LaunchedJob``).

python training_worker.py JOB.json      (``accelerate launch training_worker.py JOB.json``)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charter.models.tuners.launched_tuner import LaunchedJob
    from charter.models.tuners.tuner_options import TuneOptions


def main(path: Path) -> int:
    """Trains; 0 where the policy is written. Only the first process writes."""
    from charter.errors import CharterError
    from charter.models.tuners.isolation import isolated_training
    from charter.models.tuners.launched_tuner import (
        CHECKPOINT_FOLDER,
        FAILURE_FILE,
        POLICY_FOLDER,
        RESULT_FILE,
        LaunchedJob,
        TrainingFailure,
    )
    from charter.models.tuners.training_job import train
    from charter.records.record import canonical

    work = path.parent
    try:
        job = LaunchedJob.model_validate_json(path.read_bytes())
        job = job.model_copy(update={"options": split_batch(job)})
        with isolated_training(job.seed):
            done = train(job, work / POLICY_FOLDER, work / CHECKPOINT_FOLDER)
    except CharterError as error:
        failed = work / f".{FAILURE_FILE}.{os.getpid()}"
        failed.write_text(canonical(TrainingFailure(message=error.message, cure=error.cure)), encoding="utf-8")
        failed.replace(work / FAILURE_FILE)
        print(f"charter: {error}", file=sys.stderr)
        return error.exit_code
    if os.environ.get("RANK", "0") == "0":
        (work / RESULT_FILE).write_text(canonical(done), encoding="utf-8")
    return 0


def split_batch(job: LaunchedJob) -> TuneOptions:
    """The job's options for one process of all that the launcher started: a step has ``batch`` rows over all of them.
    Raises TuningError where it does not come out even."""
    from charter.errors import TuningError
    from charter.models.tuners.isolation import count_processes

    count, rows = count_processes(), job.options.batch
    micro = job.micro_batch or rows // count
    if micro < 1 or rows % (micro * count):
        raise TuningError(
            f"{rows} rows in a step do not come out even over {count} processes with {micro} rows at a time.",
            "Make options.tune.batch a multiple of processes times tuner.micro_batch.",
        )
    return job.options.model_copy(update={"batch": micro, "accumulate": rows // (micro * count)})


if __name__ == "__main__":
    sys.path.pop(0)  # this script's own folder
    sys.exit(main(Path(sys.argv[1])))
