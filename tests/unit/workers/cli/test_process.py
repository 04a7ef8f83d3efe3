import gc
import signal
import subprocess
import sys

import pytest

from workers.cli.errors import ExitCode
from workers.cli.process import share_with_children


def test_what_is_loaded_is_looked_through_no_more() -> None:
    before = gc.get_freeze_count()
    tracked = len(gc.get_objects())
    try:
        share_with_children()
        assert gc.get_freeze_count() - before > tracked / 2
        assert len(gc.get_objects()) < tracked / 2
    finally:
        gc.unfreeze()


LOSES_IT = """
import time, workers.cli.schema
from pydantic import BaseModel, field_serializer

class Slow(BaseModel):
    field: int = 1

    @field_serializer("field")
    def show(self, value):
        print("in it", flush=True)
        time.sleep(30)

def schema(*_arguments, **_named):
    {how}

workers.cli.schema.schema.callback = schema
workers.cli.main()
"""


@pytest.mark.parametrize(
    "how",
    [
        "Slow().model_dump_json()",  # pydantic makes another error of it
        "\n    try:\n        Slow().model_dump_json()\n    except Exception:\n        time.sleep(30)",
    ],
)
def test_ctrl_c_is_not_lost_in_foreign_code(how: str) -> None:
    argv = [sys.executable, "-c", LOSES_IT.format(how=how), "schema"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in it\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors.strip()) == (ExitCode.INTERRUPTED, "")
