"""CVs, postings and matches: duplicates by text merged and counted, bad rows named, the real files read."""

import gzip
import json

import pytest
from tabular import events, put

from llmrec.config import make_config
from llmrec.data_prep.jobs import Duplicates, JobColumns, load_jobs
from llmrec.data_prep.raw.reading import Reading
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error

CVS = (
    "cv,role,text,years\n"
    'c2,Cook,"I bake\nbread, ""daily""",3\n'
    "c1,Driver,I drive,5\n"
    'c3,Baker," i  BAKE bread,\t""daily""",9\n'
)
POSTINGS = (
    'posting,title,description\np1,Baker,"Bake\nhere"\np2,Driver,Drive here\np3,Driver,bake HERE\np4,BAKER,bake here\n'
)
MATCHES = "cv,posting,label\nc1,p2,1\nc2,p1,0\nc3,p1,0.5\nc3,p4,0.25\nc1,p3,0\nc1,p2,1\n"
IDS = JobColumns(cv_id="cv", cv_title="role", posting_id="posting")


def files(folder, cvs=CVS, postings=POSTINGS, matches=MATCHES):
    contents = (("cvs.csv", cvs), ("postings.csv", postings), ("matches.csv", matches))
    return [put(folder, name, content) for name, content in contents]


def test_duplicates_are_merged_and_their_matches_moved(tmp_path):
    counted = []
    data = load_jobs(*files(tmp_path), columns=IDS, count=counted.append)
    # c3 is c2 in other case and spaces, p4 is p1; p3 has the text of p1 but another title, so it stays.
    assert data.users.ids.to_list() == ["c2", "c1"]
    assert data.items.ids.to_list() == ["p1", "p2", "p3"]
    assert data.user_table.to_dict(as_series=False) == {
        "title": ["Cook", "Driver"],
        "text": ['I bake\nbread, "daily"', "I drive"],
        "years": ["3", "5"],
    }
    assert data.item_table.to_dict(as_series=False) == {
        "title": ["Baker", "Driver", "Driver"],
        "description": ["Bake\nhere", "Drive here", "bake HERE"],
    }
    # Of c2 and p1 there are three labels, 0, 0.5 and 0.25: the highest stays. c1 and p2 stand twice, alike.
    assert events(data) == [("c1", "p2", 0, 1.0), ("c2", "p1", 2, 0.5), ("c1", "p3", 4, 0.0)]
    assert counted == [Duplicates(cvs=1, postings=1, matches=3, conflicts=1)]
    assert not data.clock


def test_the_log_counts_duplicates(tmp_path, caplog):
    with caplog.at_level("INFO", logger="llmrec"):
        load_jobs(*files(tmp_path), columns=IDS)
    words = "1 repeated CVs, 1 repeated postings and 3 repeated matches left out (1 pairs with several labels)"
    assert words in caplog.text


def test_times_order_the_matches(tmp_path):
    matches = "cv,posting,label,when\nc1,p2,1,300\nc2,p1,1,200\nc3,p1,1,100\n"
    columns = JobColumns(cv_id="cv", posting_id="posting", match_time="when")
    data = load_jobs(*files(tmp_path, matches=matches), columns=columns)
    assert data.clock
    assert events(data) == [("c2", "p1", 100, 1.0), ("c1", "p2", 300, 1.0)]  # of equal labels the earliest


def test_without_labels_a_match_counts_one_and_without_matches_there_are_none(tmp_path):
    cvs, postings, matches = files(tmp_path, matches="cv,posting\nc1,p3\n")
    columns = JobColumns(cv_id="cv", posting_id="posting", match_label=None)
    assert events(load_jobs(cvs, postings, matches, columns=columns)) == [("c1", "p3", 0, 1.0)]
    assert len(load_jobs(cvs, postings, columns=columns).interactions) == 0


def test_records_without_ids_are_numbered(tmp_path):
    cvs = "".join(json.dumps({"text": text}) + "\n" for text in ("I bake", "I bake", "I drive"))
    postings = json.dumps([{"title": "Driver", "description": "Drive"}, {"title": "Baker", "description": "Bake"}])
    data = load_jobs(
        put(tmp_path, "c.jsonl.gz", gzip.compress(cvs.encode())),
        put(tmp_path, "p.json", postings),
        put(tmp_path, "m.csv", "cv,posting,label\n3,1,1\n2,2,1\n"),
    )
    assert data.users.ids.to_list() == [1, 3]
    assert events(data) == [(3, 1, 0, 1.0), (1, 2, 1, 1.0)]


def test_texts_of_several_columns_are_joined(tmp_path):
    cvs = put(tmp_path, "c.csv", "skills,school,text\nbaking,,x\n,Paris,y\ndriving,Rome,z\n")
    data = load_jobs(cvs, files(tmp_path)[1], columns=JobColumns(cv_text=("skills", "school")))
    assert data.user_table["text"].to_list() == ["baking", "Paris", "driving\nRome"]
    assert data.user_table["text_in_file"].to_list() == ["x", "y", "z"]
    expect_error(ConfigError, lambda: make_config(JobColumns, {"cv_text": "skills"}), "cv_text = 'skills'")
    expect_error(ConfigError, lambda: make_config(JobColumns, {"posting_text": ()}), "posting_text = ()", "at least 1")


def test_a_folder_of_tables_is_one_table(tmp_path):
    folder = tmp_path / "cvs"
    folder.mkdir()
    put(folder, "b.csv", "cv,text\nc3,third\n")
    put(folder, "a.csv", "cv,text\nc1,first\nc2,second\n")
    put(folder, "notes.md", "not a table")
    data = load_jobs(folder, files(tmp_path)[1], columns=JobColumns(cv_id="cv"))
    assert data.users.ids.to_list() == ["c1", "c2", "c3"]
    assert load_jobs(folder, files(tmp_path)[1]).users.ids.to_list() == [1, 2, 3]
    put(folder, "b.csv", "cv,text\nc3,third\nc2,fourth\n")
    words = ["cvs/b.csv line 3", "cv = 'c2'", "an id that no earlier file has"]
    expect_error(DataError, lambda: load_jobs(folder, files(tmp_path)[1], columns=JobColumns(cv_id="cv")), *words)
    put(folder, "c.txt", "text")
    expect_error(
        DataError, lambda: load_jobs(folder, files(tmp_path)[1]), "1 .txt files and 2 tables", "move the others"
    )


def test_a_folder_of_texts_is_named_by_its_files(tmp_path):
    folder = tmp_path / "cvs"
    folder.mkdir()
    for name, text in (("10", "tenth\n\nCV"), ("9", " ninth "), ("2", "NINTH")):
        put(folder, f"{name}.txt", text)
    data = load_jobs(folder, files(tmp_path)[1], put(tmp_path, "m.csv", "cv,posting,label\n9,1,1\n"))
    assert data.users.ids.to_list() == [2, 10]
    assert data.user_table["text"].to_list() == ["NINTH", "tenth\n\nCV"]
    assert events(data) == [(2, 1, 0, 1.0)]
    put(folder, "3.txt", b"caf\xe9")
    put(folder, "4.txt", " \n")
    postings = files(tmp_path)[1]
    expect_error(DataError, lambda: load_jobs(folder, postings), "cvs/3.txt line 1", "byte 0xe9 is no UTF-8 text")
    reading = Reading(skip_bad_rows=2)
    assert load_jobs(folder, postings, reading=reading).users.ids.to_list() == [2, 10]
    assert [(row.file, row.reason) for row in reading.rejected] == [
        ("cvs/3.txt", "byte 0xe9 is no UTF-8 text"),
        ("cvs/4.txt", "no text"),
    ]
    expect_error(DataError, lambda: load_jobs(folder, postings, reading=Reading(1)), "cvs/4.txt line 1", "no text")


BAD_ROWS = [
    ("cvs", "c9,Cook, ,1", ["cvs.csv line 6 ('c9,Cook, ,1')", "text = ' '", "a text in text"]),
    ("cvs", "c9,Cook,,1", ["cvs.csv line 6", "no text", "a text in text"]),
    ("cvs", ",Cook,I cook,1", ["cvs.csv line 6", "no cv", "an id"]),
    ("cvs", "c1,Cook,I cook,1", ["cvs.csv line 6", "cv = 'c1' stands on line 4 too", "each cv once"]),
    ("cvs", "c9,Cook,I cook", ["cvs.csv line 6", "3 fields", "4 fields (cv, role, text, years)"]),
    ("cvs", b"c9,Cook,\xff,1", ["cvs.csv line 6", "byte 0xff is no UTF-8 text"]),
    ("postings", "p9,Cook,", ["postings.csv line 7", "no description", "a text in description"]),
    ("matches", "c9,p1,1", ["matches.csv line 8 ('c9,p1,1')", "cv = 'c9'", "an id of", "cvs.csv", "add it there"]),
    ("matches", "c1,p9,1", ["matches.csv line 8", "posting = 'p9'", "an id of", "postings.csv"]),
    ("matches", "c1,,1", ["matches.csv line 8", "no posting", "an id"]),
    ("matches", "c1,p1,", ["matches.csv line 8", "no label", "a finite number"]),
    ("matches", "c1,p1,inf", ["matches.csv line 8", "label = inf", "a finite number"]),
    ("matches", "c1,p1,good", ["matches.csv line 8", "label = 'good'", "a number"]),
]


@pytest.mark.parametrize(("which", "line", "words"), BAD_ROWS)
def test_bad_jobs(tmp_path, which, line, words):
    good = {"cvs": CVS, "postings": POSTINGS, "matches": MATCHES}
    bad = good[which].encode() + (line if isinstance(line, bytes) else line.encode()) + b"\n"
    paths = files(tmp_path, **{**good, which: bad})
    expect_error(DataError, lambda: load_jobs(*paths, columns=IDS), *words, "--skip-bad-rows")
    reading = Reading(skip_bad_rows=1)
    data = load_jobs(*paths, columns=IDS, reading=reading)
    assert data.counts() == {"users": 2, "items": 3, "interactions": 3, "impressions": 0}
    assert len(reading.rejected) == 1


def test_bad_match_times(tmp_path):
    columns = JobColumns(cv_id="cv", posting_id="posting", match_time="when")
    for time, words in (("-1", "0 or later"), ("1700000000000", "looks like milliseconds")):
        paths = files(tmp_path, matches=f"cv,posting,label,when\nc1,p1,1,{time}\n")
        expect_error(DataError, lambda paths=paths: load_jobs(*paths, columns=columns), "matches.csv line 2", words)


def test_record_numbers_must_not_shift(tmp_path):
    paths = files(tmp_path, cvs="text,years\none,1\n ,2\ntwo,3\n", matches="cv,posting,label\n2,1,1\n")
    columns = JobColumns()
    words = ["cvs.csv has no column of ids", "line 3 was left out", "name a column of ids"]
    expect_error(DataError, lambda: load_jobs(*paths, columns=columns, reading=Reading(5)), *words)
    assert load_jobs(*paths[:2], columns=columns, reading=Reading(5)).users.ids.to_list() == [1, 2]


@pytest.mark.parametrize(
    ("cvs", "words"),
    [
        (lambda f: f / "nowhere.csv", ["nowhere.csv", "is no readable file"]),
        (lambda f: f / "empty", ["empty' holds no file to read", "a folder of tables"]),
        (lambda f: put(f, "c.csv", ""), ["c.csv is empty"]),
        (lambda f: put(f, "c.csv", "cv,resume\n1,x\n"), ["c.csv has no column 'text' (it has cv, resume)"]),
        (lambda f: put(f, "c.csv", "cv,text\n1,\n"), ["c.csv has no good row"]),
        (lambda f: put(f, "c.csv", 'text\n"open\n'), ["c.csv has no good row"]),
        (lambda f: put(f, "c.csv.gz", gzip.compress(CVS.encode() * 9)[:-9]), ["c.csv.gz line", "unpacked"]),
    ],
)
def test_bad_job_files(tmp_path, cvs, words):
    (tmp_path / "empty").mkdir()
    postings = files(tmp_path)[1]
    expect_error(DataError, lambda: load_jobs(cvs(tmp_path), postings, reading=Reading(9)), *words)


POSTING_COLUMNS = {"posting_title": "position_title", "posting_text": ["job_description"]}


@pytest.mark.data
def test_most_of_962_resumes_are_copies(data_folder):
    counted = []
    columns = JobColumns(
        cv_title="Role",
        cv_text=["Resume"],
        posting_id="id",
        posting_title="job_title",
        posting_text=["job_description"],
    )
    folder = data_folder / "jobs"
    data = load_jobs(
        folder / "UpdatedResumeDataSet.csv", folder / "5_vacancies.csv", columns=columns, count=counted.append
    )
    assert data.counts() == {"users": 166, "items": 5, "interactions": 0, "impressions": 0}
    assert counted == [Duplicates(cvs=962 - 166, postings=0, matches=0, conflicts=0)]
    assert data.user_table["title"].n_unique() == 25
    assert data.items.ids.to_list() == [8, 37, 90, 207, 499]
    assert data.titles()[0] == "Software Developer - .Net"


@pytest.mark.data
def test_a_folder_of_24_tables_holds_2484_resumes(data_folder):
    counted = []
    folder = data_folder / "jobs" / "livecareer"
    columns = JobColumns(cv_id="PDF File Name", cv_title="Job Role", cv_text=["Skills", "Education"], **POSTING_COLUMNS)
    reading = Reading(skip_bad_rows=5)  # so many have neither skills nor education
    postings = folder / "job_descriptions.csv"
    data = load_jobs(folder / "pdf_extracted_data", postings, columns=columns, count=counted.append, reading=reading)
    assert len(data.users) + counted[0].cvs + len(reading.rejected) == 2484
    texts = data.user_table["text"].str.to_lowercase().str.replace_all(r"\s+", " ")
    assert texts.n_unique() == len(data.users)
    assert len(data.titles()) == 14


@pytest.mark.data
def test_a_folder_of_65_texts(data_folder):
    folder = data_folder / "jobs"
    columns = JobColumns(**POSTING_COLUMNS)
    data = load_jobs(folder / "cv_text", folder / "livecareer" / "job_descriptions.csv", columns=columns)
    assert data.users.ids.to_list() == list(range(1, 66))
    lengths = data.user_table["text"].str.len_chars()
    assert lengths.min() > 400
