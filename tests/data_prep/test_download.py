"""Downloads from a real server on this machine: whole and checked, or nothing."""

import hashlib
import io
import zipfile
from http.client import IncompleteRead
from urllib.error import HTTPError, URLError

import pytest

from llmrec.data_prep.download import download
from llmrec.errors import DataError
from llmrec.testing import expect_error


def zipped(text: str = "hello") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            zipfile.ZipInfo("a.txt"), text
        )  # of a fixed date: test names and comparisons need the same bytes
    return buffer.getvalue()


def test_a_file_is_fetched_once_and_kept(tmp_path, server):
    url = server.publish("a.zip", zipped())
    folder = tmp_path / "not" / "there" / "yet"
    assert download(url, folder) == folder / "a.zip"
    assert (folder / "a.zip").read_bytes() == zipped()
    assert server.asked == ["a.zip.md5", "a.zip"]
    server.publish("a.zip", zipped("newer"))
    assert download(url, folder).read_bytes() == zipped()
    assert server.asked == ["a.zip.md5", "a.zip"]


@pytest.mark.parametrize("form", ["{md5}", "{md5}  a.zip\n", "MD5 (a.zip) = {md5}\n", "{MD5}\n"])
def test_every_usual_form_of_a_checksum_file_is_read(tmp_path, server, form):
    md5 = hashlib.md5(zipped(), usedforsecurity=False).hexdigest()
    url = server.publish("a.zip", zipped(), md5=form.format(md5=md5, MD5=md5.upper()))
    assert download(url, tmp_path).exists()


@pytest.mark.parametrize(
    ("content", "md5", "words"),
    [
        (zipped(), "MD5 (a.zip) = " + "0" * 32, ["has the MD5", "expected " + "0" * 32, "by hand"]),
        (zipped(), "<html>please log in</html>", ["has the MD5", "an MD5, as in", "a.zip.md5"]),
        (zipped()[:-20], None, ["no whole zip"]),
        (zipped().replace(b"hello", b"hallo"), None, ["no whole zip"]),
        (b"<html>please log in</html>", None, ["26 bytes that are no whole zip"]),
        (b"", None, ["0 bytes that are no whole zip"]),
    ],
)
def test_what_fails_a_check_is_not_kept(tmp_path, server, content, md5, words):
    url = server.publish("a.zip", content, md5=md5)
    expect_error(DataError, lambda: download(url, tmp_path / "cache"), "a.zip", *words)
    assert not (tmp_path / "cache").exists()


def test_a_port_where_nobody_listens_is_an_oserror(tmp_path, closed_port):
    with pytest.raises(URLError, match="refused"):
        download(f"http://127.0.0.1:{closed_port}/a.zip", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_missing_file_is_an_oserror(tmp_path, server):
    with pytest.raises(HTTPError, match="404") as caught:
        download(server.url("a.zip"), tmp_path / "cache")
    caught.value.close()
    assert not (tmp_path / "cache").exists()


def test_an_answer_that_breaks_off_is_no_answer(tmp_path, server):
    url = server.publish("a.zip", zipped())
    server.announced["a.zip"] = len(zipped()) + 1000
    with pytest.raises(IncompleteRead):
        download(url, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
