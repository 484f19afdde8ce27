"""What a launcher runs, once in each process: trains the job in a file (``launched.Job``).

python child.py JOB.json      (``accelerate launch child.py JOB.json``)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charter.tuners.launched import Job
    from charter.tuners.options import Options


def main(path: Path) -> int:
    """Trains; 0 where the policy is written. Only the first process writes."""
    from charter.errors import CharterError
    from charter.nouns import canonical
    from charter.tuners.launched import CHECKPOINTS, DONE, FAILED, POLICY, Failed, Job
    from charter.tuners.session import training
    from charter.tuners.training import train

    work = path.parent
    try:
        job = Job.model_validate_json(path.read_bytes())
        job = job.model_copy(update={"options": spread(job)})
        with training(job.seed):
            done = train(job, work / POLICY, work / CHECKPOINTS)
    except CharterError as error:
        failed = work / f".{FAILED}.{os.getpid()}"
        failed.write_text(canonical(Failed(message=error.message, cure=error.cure)), encoding="utf-8")
        failed.replace(work / FAILED)
        print(f"charter: {error}", file=sys.stderr)
        return error.exit_code
    if os.environ.get("RANK", "0") == "0":
        (work / DONE).write_text(canonical(done), encoding="utf-8")
    return 0


def spread(job: Job) -> Options:
    """The job's options for one process of all that the launcher started: a step has ``batch`` rows over all of them.
    Raises TuningError where it does not come out even."""
    from charter.errors import TuningError
    from charter.tuners.session import processes

    count, rows = processes(), job.options.batch
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
