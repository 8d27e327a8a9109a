"""Stdout has what a command says, and what code of the user's prints is on stderr, whenever it does so."""

from __future__ import annotations

import sys

import pytest
from tqdm import tqdm

from offramp.prints import prints_aside
from offramp.program.engine import recording
from offramp.program.run_log import RunLog
from offramp.records import Purpose


def test_a_bar_of_a_run_stays_on_stderr_also_where_it_is_collected_later(capsys: pytest.CaptureFixture[str]) -> None:
    with prints_aside():
        with recording(RunLog(purpose=Purpose.PROGRAM, replicate=0)):
            print("from the module")
            bar = tqdm(total=2, file=sys.stdout)
        bar.close()
        print("{}")
    said = capsys.readouterr()
    assert said.out == "{}\n" and "from the module" in said.err and "0/2" in said.err
