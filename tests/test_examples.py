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


@pytest.mark.slow
def test_the_funnel_recommends_real_films_stage_by_stage(tmp_path):
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "03_pipeline.py")], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    sizes = [line.split(" films a user in ")[0] for line in run.stdout.splitlines() if " films a user in " in line]
    assert sizes == ["recall: 200", "pre-rank: 50", "re-rank: 10"]
    assert run.stdout.count("skipped for 0 users") == 3
    assert "pipeline" in run.stdout
    assert run.stdout.count(" -> ") == 3
