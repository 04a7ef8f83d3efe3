"""Celery's remote control in a worker: questions, and nothing else."""

import subprocess
import sys

from workers.queueing.remote_control import QUESTIONS


def test_a_worker_knows_the_questions_only() -> None:
    program = (
        "from workers.queueing.remote_control import restrict_to_questions as r; r(); r();"
        "from celery.worker.control import Panel; print(*sorted(Panel.data)); print(*sorted(Panel.meta))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert [set(line.split()) for line in done.stdout.splitlines()] == [QUESTIONS, QUESTIONS]
