"""``llmrec data describe``."""

import json
import shutil


def test_a_prepared_folder_is_described_with_its_split(llmrec, prepared):
    code, out, _ = llmrec("data", "describe", prepared / "ml")
    assert code == 0
    assert "Gini coefficient" in out
    assert "leave-last-out" in out
    assert not list(prepared.rglob("description.*"))


def test_a_folder_gets_the_page_and_the_numbers(llmrec, prepared):
    code, out, _ = llmrec("data", "describe", prepared / "ml", "--out", prepared / "about")
    assert code == 0
    assert sorted(path.name for path in (prepared / "about").iterdir()) == ["description.html", "description.json"]
    numbers = json.loads((prepared / "about" / "description.json").read_text("utf-8"))
    assert numbers["counts"]["users"] == 12
    assert numbers["split"]["test"]["queries"] == 12
    assert "".join(out.split()).endswith(f"description->{prepared}/about/description.html")


def test_a_page_with_a_name_gets_its_numbers_under_that_name(llmrec, prepared):
    assert llmrec("data", "describe", prepared / "ml", "--out", prepared / "films.html")[0] == 0
    assert (prepared / "films.html").read_text("utf-8").startswith("<!doctype html>")
    assert json.loads((prepared / "films.json").read_text("utf-8"))["counts"]["users"] == 12


def test_a_data_set_needs_no_split(llmrec, prepared):
    shutil.rmtree(prepared / "ml" / "split")
    code, out, _ = llmrec("data", "describe", prepared / "ml", "--out", prepared / "about")
    assert code == 0
    assert "Split" not in out
    assert json.loads((prepared / "about" / "description.json").read_text("utf-8"))["split"] is None


def test_errors_take_one_line(llmrec, prepared):
    for words, found in (
        (("data", "describe", prepared / "none"), "no file"),
        (("data", "describe", prepared / "ml", "--out", prepared / "knn.parquet"), "cannot be written"),
    ):
        code, out, err = llmrec(*words)
        assert (code, out) == (2, "")
        assert err.startswith("llmrec: error: ")
        assert err.count("\n") == 1
        assert found in err


def test_a_broken_split_is_not_passed_over(llmrec, prepared):
    (prepared / "ml" / "split" / "test.parquet").write_bytes(b"PAR1")
    code, _, err = llmrec("data", "describe", prepared / "ml")
    assert code == 2
    assert "test.parquet" in err
