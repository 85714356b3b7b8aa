"""Every edition of MovieLens: its files, its encoding, its users, and the tags of its movies."""

import gzip
import zipfile
from collections import defaultdict

import polars as pl
import pytest
from films import EDITIONS, events, everything, put, with_row
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data import Dataset
from llmrec.data_prep.movielens import load_movielens, natural_title
from llmrec.data_prep.movielens_tags import top_tags
from llmrec.errors import ConfigError
from llmrec.testing import expect_error

# As the README of 100K orders them; the first flag stands for no genre.
GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]


def load(tmp_path, edition: str, **options) -> Dataset:
    return load_movielens(put(tmp_path / f"ml-{edition}", EDITIONS[edition]), **options)


def test_100k_is_read_with_its_unknown_movie_and_its_users(tmp_path):
    data = load(tmp_path, "100k")
    assert data.name == "movielens-100k"
    assert everything(data) == {
        # At 881250949 the line of movie 543 comes before that of movie 1.
        "events": [(22, 267, 1.0, 878887116), (196, 543, 3.0, 881250949), (196, 1, 5.0, 881250949)],
        "items": [1, 267, 543],
        "users": [22, 196],
        "item_table": {
            "title": ["Toy Story (1995)", "unknown", "Les Misérables (1995)"],
            "year": [1995, None, 1995],
            "categories": [["Animation", "Children's", "Comedy"], [], ["Drama", "Musical"]],
        },
        "user_table": {
            "age": [25, 49],
            "gender": ["M", "F"],
            "occupation": ["writer", "none"],
            "zip": ["T8H1N", "55105"],
        },
    }
    assert data.clock


def test_each_flag_of_100k_names_its_genre(tmp_path):
    flags = [["0"] * place + ["1"] + ["0"] * (18 - place) for place in range(19)]
    rows = [f"{place}|Film {place} (1990)||||{'|'.join(flag)}\n" for place, flag in enumerate(flags)]
    files = {"u.item": "".join(rows).encode(), "u.data": b"1\t0\t3\t5\n"}
    data = load_movielens(put(tmp_path / "ml-100k", files))
    assert data.item_table["categories"].to_list() == [[], *([genre] for genre in GENRES)]


def test_1m_is_read_with_its_users_in_words(tmp_path):
    data = load(tmp_path, "1m")
    assert data.name == "movielens-1m"
    assert everything(data) == {
        "events": [(4, 73, 3.0, 978300760), (4, 1, 4.0, 978300760), (2, 1, 5.0, 978302109)],
        "items": [1, 73],
        "users": [2, 4],
        "item_table": {
            "title": ["Toy Story (1995)", "Les Misérables (1995)"],
            "year": [1995, 1995],
            "categories": [["Animation", "Children's", "Comedy"], ["Drama"]],
        },
        "user_table": {
            "age": [56, 1],
            "gender": ["M", "F"],
            "occupation": ["self-employed", "K-12 student"],  # 16 and 10 in its README
            "zip": ["70072", "98107-2117"],
        },
    }


@pytest.mark.parametrize(
    ("code", "occupation"),
    [(0, "other"), (1, "academic/educator"), (7, "executive/managerial"), (12, "programmer"), (20, "writer")],
)
def test_occupations_of_1m_are_those_of_its_readme(tmp_path, code, occupation):
    files = with_row(EDITIONS["1m"], "users.dat", f"9::M::25::{code}::1".encode(), 1)
    data = load_movielens(put(tmp_path / "ml-1m", files))
    assert data.users.ids.to_list() == [9, 2, 4]  # user 9 has rated nothing and stays
    assert data.user_table["occupation"][0] == occupation


def test_10m_is_read_with_quotes_half_stars_and_colons_in_tags(tmp_path):
    data = load(tmp_path, "10m")
    assert everything(data) == {
        "events": [(7, 51372, 4.5, 838983525), (1, 29, 0.5, 838985046)],
        "items": [51372, 8606, 29],
        "users": [1, 7],
        "item_table": {
            "title": ['"Great Performances" Cats (1998)', "Pull My Daisy (1958)", "The City of Lost Children (1995)"],
            "year": [1998, 1958, 1995],
            "categories": [["Musical"], [], ["Fantasy", "Sci-Fi"]],
            "tags": [["élan"], [], ['"french" film', "2:1", "ends with:", "ratio::2"]],
        },
        "user_table": None,
    }


def test_the_folder_that_the_zip_of_10m_unpacks_to_gives_the_same_name(tmp_path):
    assert load_movielens(put(tmp_path / "ml-10M100K", EDITIONS["10m"])).name == "movielens-10m"


def test_tags_in_csv_hold_commas_and_quotes_and_blank_ones_are_none(tmp_path):
    data = load(tmp_path, "csv")
    # crime has two users, the others one each; the movie that nobody rated or tagged stays.
    assert data.item_table["tags"].to_list() == [["crime", 'the "usual"', "twist, final"], [], []]
    assert data.item_table["title"].to_list()[2] == '"Great Performances" Cats (1998)'


def test_files_that_may_be_absent_may_be_absent(tmp_path):
    for edition, name in (("100k", "u.user"), ("10m", "tags.dat"), ("csv", "tags.csv")):
        whole = load(tmp_path, edition)
        (tmp_path / f"ml-{edition}" / name).unlink()
        data = load_movielens(tmp_path / f"ml-{edition}")
        assert events(data) == events(whole)
        assert data.user_table is None
        assert "tags" not in data.item_table.columns


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("form", ["gzip", "zip", "crlf", "no last line break"])
def test_the_same_is_read_however_the_files_are_packed_or_their_lines_end(tmp_path, edition, form):
    files = EDITIONS[edition]
    wanted = everything(load(tmp_path, edition))
    if form == "gzip":
        source = put(tmp_path / "other", {f"{name}.gz": gzip.compress(text) for name, text in files.items()})
    elif form == "zip":
        source = tmp_path / f"ml-{edition}.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, text in files.items():
                archive.writestr(f"ml-{edition}/{name}", text)
    elif form == "crlf":
        source = put(tmp_path / "other", {name: text.replace(b"\n", b"\r\n") for name, text in files.items()})
    else:
        source = put(tmp_path / "other", {name: text.removesuffix(b"\n") for name, text in files.items()})
    assert everything(load_movielens(source)) == wanted


def test_a_data_set_with_tags_and_users_is_saved_and_loaded(tmp_path):
    for edition in ("1m", "10m"):
        data = load(tmp_path, edition)
        assert everything(Dataset.load(data.save(tmp_path / "saved"))) == everything(data)


@pytest.mark.parametrize(
    ("before", "tags"),
    [
        (None, ["crime", 'the "usual"', "twist, final"]),
        (401, ["crime", 'the "usual"', "twist, final"]),
        (400, ["crime", 'the "usual"', "twist, final"]),  # one user each: alphabetical
        (300, ['the "usual"', "twist, final"]),
        (200, ["twist, final"]),
        (100, []),
        (0, []),
    ],
)
def test_tags_from_the_cut_on_do_not_count(tmp_path, before, tags):
    assert load(tmp_path, "csv", tags_before=before).item_table["tags"].to_list() == [tags, [], []]


@pytest.mark.parametrize("before", [-1, 1_700_000_000_000])
def test_a_cut_that_is_no_time_in_seconds_is_refused(tmp_path, before):
    words = (f"tags_before = {before}", "Unix seconds", "divide it by 1000")
    expect_error(ConfigError, lambda: load(tmp_path, "csv", tags_before=before), *words)


def table_of_tags(rows: list[tuple[int, int, str, int]]) -> pl.DataFrame:
    schema = {"userId": pl.Int64, "movieId": pl.Int64, "tag": pl.String, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_at_most_ten_tags_those_of_most_users_first():
    rows = [(user, 1, f"t{place:02}", 0) for place in range(12) for user in range(place + 1)]
    rows += [(99, 1, "t00", second) for second in range(20)]  # one user's twenty times count once
    wanted = ["t11", "t10", "t09", "t08", "t07", "t06", "t05", "t04", "t03", "t02"]
    assert top_tags(table_of_tags(rows), pl.Series([2, 1])).to_list() == [[], wanted]


def test_tags_that_read_the_same_are_one():
    rows = [(1, 1, "Sci \t Fi", 0), (2, 1, " sci fi ", 0), (3, 1, "SCI\x00FI", 0), (4, 1, "é", 0), (5, 1, "e\u0301", 0)]
    rows += [(6, 1, "alone", 0)]
    assert top_tags(table_of_tags(rows), pl.Series([1])).to_list() == [["sci fi", "é", "alone"]]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 3), st.sampled_from("abcdefghijklmABC"), st.integers(0, 9)),
        max_size=80,
    ),
    st.integers(0, 10),
)
def test_the_commonest_tags_are_those_that_plain_counting_finds(rows, before):
    users = defaultdict(set)
    for user, movie, tag, time in rows:
        if time < before:
            users[movie, tag.lower()].add(user)
    ranked = sorted(users, key=lambda pair: (-len(users[pair]), pair[1]))
    wanted = [[tag for movie, tag in ranked if movie == asked][:10] for asked in (3, 1, 2)]
    assert top_tags(table_of_tags(rows), pl.Series([3, 1, 2]), before=before).to_list() == wanted


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(":::0123456789"), max_size=12))
def test_any_tag_of_10m_is_read_back(tmp_path_factory, tag):
    row = f"5::8606::{tag}::77".encode()
    folder = put(tmp_path_factory.mktemp("ml"), with_row(EDITIONS["10m"], "tags.dat", row, 2))
    movies = pl.Series([8606])
    wanted = top_tags(table_of_tags([(5, 8606, tag, 77)]), movies).to_list()
    assert load_movielens(folder).item_table["tags"].to_list()[1:2] == wanted


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("unknown", "unknown", None),
        ("Land Before Time III: The Great Giving (1995) (V)", "Land Before Time III: The Great Giving", 1995),
        ("Marlene Dietrich: Shadow and Light (1996) ", "Marlene Dietrich: Shadow and Light", 1996),
        ("Time of Burning Love (Palavan rakkauden aika) (1983))", "Time of Burning Love", 1983),
        ("Diplomatic Immunity (2009– )", "Diplomatic Immunity", 2009),  # noqa: RUF001
        ("V (1983)", "V", 1983),
    ],
)
def test_odd_titles_of_the_official_files(raw, title, year):
    assert natural_title(raw) == (title, year)


@pytest.mark.data
def test_the_official_tags_are_read(data_folder, tmp_path):
    data = load_movielens(data_folder / "movielens-latest-small")
    tags = dict(zip(data.items.ids.to_list(), data.item_table["tags"].to_list(), strict=True))
    assert tags[1] == ["pixar", "fun"]  # users 336 and 474, and 567
    raw = (data_folder / "movielens-latest-small" / "tags.csv").read_bytes()
    assert raw.count(b"\n") - 1 == 3683
    tagged = {int(line.split(b",")[1]) for line in raw.splitlines()[1:]}
    assert {movie for movie, some in tags.items() if some} == tagged
    early = load_movielens(data_folder / "movielens-latest-small", tags_before=1525286013)
    assert early.item_table["tags"][0].to_list() == ["pixar"]
    saved = Dataset.load(data.save(tmp_path / "saved"))
    assert saved.item_table.equals(data.item_table)


@pytest.mark.data
def test_the_official_movies_and_users_of_1m_are_read(data_folder, tmp_path):
    official = data_folder / "movielens-1m"
    files = {name: (official / name).read_bytes() for name in ("movies.dat", "users.dat")}
    data = load_movielens(put(tmp_path / "ml-1m", {**files, "ratings.dat": b"6040::3952::5::956704746\n"}))
    assert data.counts() == {"users": 6040, "items": 3883, "interactions": 1, "impressions": 0}
    assert events(data) == [(6040, 3952, 5.0, 956704746)]
    titles = dict(zip(data.items.ids.to_list(), data.titles(), strict=True))
    assert titles[73] == "Les Misérables (1995)"
    assert data.item_table["year"].null_count() == 0
    assert data.user_table.row(0, named=True) == {
        "age": 1,
        "gender": "F",
        "occupation": "K-12 student",
        "zip": "48067",
    }
