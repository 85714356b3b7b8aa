"""Recall and a language model, fused through the command line."""

import json

import polars as pl


def ranked_parts(llmrec, folder):
    """Write recall's candidates and the model's order of them for the valid part too; return the four paths."""
    paths = [folder / "knn.parquet", folder / "llm.parquet", folder / "knn-valid.parquet", folder / "llm-valid.parquet"]
    recommend = ("recall", "recommend", folder / "knn", "--dataset", folder / "ml", "-k", 5, "--part", "valid")
    assert llmrec(*recommend, "--out", paths[2])[0] == 0
    for before, after, part in ((paths[0], paths[1], "test"), (paths[2], paths[3], "valid")):
        words = ("rank", before, "--dataset", folder / "ml", "--out", after, "--engine", "fake", "--part", part)
        assert llmrec(*words, "--cache", folder / "answers.sqlite")[0] == 0
    return paths


def test_the_fusion_is_fitted_on_valid_and_saved_with_the_run(llmrec, prepared):
    paths = ranked_parts(llmrec, prepared)
    for method, n in (("weight", 1), ("logistic", 5)):
        out = prepared / f"{method}.parquet"
        code, said, _ = llmrec("fuse", *paths, "--dataset", prepared / "ml", "--out", out, "--method", method)
        assert code == 0
        assert "validation queries" in said
        fitted = json.loads((prepared / f"{method}.fusion.json").read_text())
        assert (fitted["method"], len(fitted["coefficients"])) == (method, n)
        assert json.loads((prepared / f"{method}.run.json").read_text())["fusion"] == fitted
        by_row = ["query", "item"]
        fused, before = pl.read_parquet(out), pl.read_parquet(paths[0])
        assert fused.select(by_row).sort(by_row).equals(before.select(by_row).sort(by_row))


def test_rankings_of_other_candidates_are_one_line(llmrec, prepared):
    paths = ranked_parts(llmrec, prepared)
    paths[1] = paths[0].with_name("short.parquet")
    pl.read_parquet(paths[0]).filter(pl.col("rank") < 5).write_parquet(paths[1])
    code, _, err = llmrec("fuse", *paths, "--dataset", prepared / "ml", "--out", prepared / "no.parquet")
    assert code == 2
    assert "rank what recall proposed" in err
    assert not (prepared / "no.parquet").exists()
