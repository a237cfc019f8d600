"""How fast the Junyi log is read, against the plainest way with pandas, on a generated file of the official format.

    python benchmarks/junyi_ingest.py --rows 5000000

Both sides read the same file in one process, in turns; the medians count. Ours goes all the way from the raw file to
the sorted, hashed and stored table; pandas reads all columns, sorts by user and time and numbers users and exercises.
The last line is JSON: `ratio` is our rows per second over theirs, `peak_gb` the peak memory of a process that only
reads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lpr_lightning.datamodules.junyi import LOG, TABLE, Junyi

EXERCISES = 835
CHUNK = 250_000
_PEAK = """
import sys
from lpr_lightning.datamodules.junyi import Junyi
Junyi(sys.argv[1], cache_dir=sys.argv[2], min_answers=1)
lines = open("/proc/self/status").read().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
"""Prints the high-water mark of its own memory in kB (Linux); getrusage would also count the parent's before exec."""


def generate(folder: Path, rows: int) -> None:
    """Write `rows` answers of about a hundred a learner in the order of time, and the table of exercises."""
    random = np.random.default_rng(0)
    names = np.array([f"exercise_of_some_length_{number}" for number in range(EXERCISES)])
    lines = [
        f"{name},TRUE,{before},1,1,2012-10-11,13,,,topic_{number % 40},math"
        for number, (name, before) in enumerate(zip(names, ["", *names[:-1]], strict=True))
    ]
    header = "name,live,prerequisites,h_position,v_position,creation_date,seconds_per_fast_problem,"
    text = "\n".join([header + "pretty_display_name,short_display_name,topic,area", *lines]) + "\n"
    (folder / TABLE).write_text(text, encoding="utf-8-sig")
    clock = 1_350_000_000_000_000
    with (folder / LOG).open("w") as file:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            done = clock + np.cumsum(random.integers(0, 14_000_000, count))
            clock = int(done[-1])
            truth = np.array(["false", "true"])
            hint = random.random(count) < 0.1
            taken = random.integers(1, 200, count)
            frame = pd.DataFrame(
                {
                    "user_id": random.integers(0, max(rows // 100, 10), count),
                    "exercise": names[(random.random(count) ** 2 * EXERCISES).astype(int)],
                    "problem_type": "type_a",
                    "problem_number": random.integers(1, 40, count),
                    "topic_mode": truth[(random.random(count) < 0.3).astype(int)],
                    "suggested": truth[(random.random(count) < 0.5).astype(int)],
                    "review_mode": "false",
                    "time_done": done,
                    "time_taken": taken,
                    "time_taken_attempts": [f"{one}&{one // 2}" for one in taken.tolist()],
                    "correct": truth[((random.random(count) < 0.8) & ~hint).astype(int)],
                    "count_attempts": 2,
                    "hint_used": truth[hint.astype(int)],
                    "count_hints": hint.astype(int),
                    "hint_time_taken_list": "",
                    "earned_proficiency": "false",
                    "points_earned": random.integers(0, 225, count),
                }
            )
            frame.to_csv(file, index=False, header=start == 0)


def ours(folder: Path) -> float:
    """Read, sort and store; return the seconds."""
    with tempfile.TemporaryDirectory() as cache:
        begin = time.perf_counter()
        Junyi(str(folder), cache_dir=cache, min_answers=1)
        return time.perf_counter() - begin


def theirs(folder: Path) -> float:
    """Read, sort and number with pandas; return the seconds."""
    begin = time.perf_counter()
    frame = pd.read_csv(folder / LOG).sort_values(["user_id", "time_done"], kind="stable")
    pd.factorize(frame["user_id"])
    pd.factorize(frame["exercise"])
    return time.perf_counter() - begin


def peak(folder: Path) -> float:
    """Return the peak memory of a process that only reads, in GB, imports included."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", _PEAK, str(folder), cache]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, arguments.rows)
        memory = peak(folder)
        times = [(ours(folder), theirs(folder)) for _ in range(arguments.repeats)]
    mine, others = (statistics.median(side) for side in zip(*times, strict=True))
    print(
        json.dumps(
            {
                "ratio": round(others / mine, 3),
                "rows_per_s": round(arguments.rows / mine),
                "peak_gb": round(memory, 3),
                "rows": arguments.rows,
                "measured": "raw Junyi log to stored table against pandas read_csv, sort_values and factorize",
            }
        )
    )


if __name__ == "__main__":
    main()
