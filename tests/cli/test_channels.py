"""A fused model through the command line: who proposed what is written, and what each channel brings printed."""

import polars as pl


def test_a_fused_model_says_who_proposed_what(llmrec, movielens, tmp_path):
    assert llmrec("prepare", "movielens", movielens, "--out", tmp_path / "ml")[0] == 0
    members = "members=[{name: ease}, {name: popular}, {name: ease, regularization: 5}]"
    fit = ("recall", "fit", "fused", "--dataset", tmp_path / "ml", "--out", tmp_path / "fused")
    assert llmrec(*fit, "--set", members, "--set", "method=snake")[0] == 0
    recommend = ("recall", "recommend", tmp_path / "fused", "--dataset", tmp_path / "ml", "-k", 4)
    code, out, _ = llmrec(*recommend, "--out", tmp_path / "fused.parquet")
    assert code == 0
    for words in ("ease-2", "popular", "(all)", "hr@4", "without", "alone", "shared with"):
        assert words in out
    frame = pl.read_parquet(tmp_path / "fused.parquet")
    assert frame.columns == ["query", "user", "rank", "item", "score", "channels"]
    first = frame.filter(pl.col("rank") == 1)["channels"].to_list()
    assert all({"channel": "ease", "rank": 1} in channels for channels in first)  # the first turn is the first's
    named = frame["channels"].explode().struct.field("channel")
    assert set(named.unique()) == {"ease", "popular", "ease-2"}
    report = llmrec(
        "evaluate", f"fused={tmp_path / 'fused.parquet'}", "--dataset", tmp_path / "ml", "--out", tmp_path / "r"
    )
    assert report[0] == 0
