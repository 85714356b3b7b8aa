"""Each example runs as a reader would run it."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_quickstart_recommends_real_films():
    command = [sys.executable, str(EXAMPLES / "01_quickstart.py"), "4"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "recall + LLM" in run.stdout
    assert run.stdout.count(" -> ") == 3


def test_instruction_rows_are_written_without_a_model(tmp_path):
    command = [sys.executable, str(EXAMPLES / "02_instruction_rows.py")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "leaks: none" in run.stdout
    assert "8,000 examples" in run.stdout
    assert len((tmp_path / "runs" / "yes-no.jsonl").read_text(encoding="utf-8").splitlines()) == 8000
