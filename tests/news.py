"""A small MIND set, and how tests write, pack and compare such sets."""

import gzip
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from llmrec.data import Dataset

ENTITY = (
    '[{"Label": "Prince Philip", "Type": "P", "WikidataId": "Q80976", "Confidence": 1.0, "SurfaceForms": ["Phil"]}]'
)
PAIR = '[{"WikidataId": "Q41", "Label": "Greece"}, {"Label": "no id"}]'
FILES: dict[str, bytes] = {
    "news.tsv": (
        f'N10\tnews\tworld\tThe "Duke" said\tWhat he said.\thttps://a/10\t{ENTITY}\t{PAIR}\n'
        "N2\tsports\tsoccer\tÉlan wins\t\t\t[]\t[]\n"
        "N3\tnews\t\tRain\tIt rains.\thttps://a/3\t\t[]\n"
        "N4\tautos\tsuv\tA car\tIt drives.\thttps://a/4\t[]\t[]\n"
    ).encode(),
    "behaviors.tsv": (
        b"1\tU2\t11/12/2019 2:14:46 PM\tN10 N2 N10\tN3-1 N2-0\n"
        b"2\tU1\t11/11/2019 12:00:00 AM\t\tN4-0 N10-1 N4-1\n"
        b"3\tU2\t11/13/2019 12:00:01 PM\tN10 N2 N10\tN3-0\n"
    ),
}
DEV = b"1\tU3\t11/15/2019 9:00:00 AM\tN2\tN3-1\n2\tU2\t11/15/2019 8:00:00 AM\tN10 N2 N10 N3 N4 N4\tN10-1\n"
TEST = b"7\tU1\t11/16/2019 11:59:59 PM\tN10 N4 N2\tN3 N2\n"


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a new folder and return it."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def pack(path: Path, files: Mapping[str, bytes], *, inside: str = "") -> Path:
    """Write files into a new zip and return it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(inside + name, content)
    return path


def with_row(files: Mapping[str, bytes], name: str, row: bytes, line: int) -> dict[str, bytes]:
    """Return the files with one more row, which becomes the line of that number (from 1) in one of them."""
    rows = files[name].splitlines(keepends=True)
    rows.insert(line - 1, row + b"\n")
    return {**files, name: b"".join(rows)}


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> int:
    """Return a moment of November 2019 in Unix seconds."""
    return int(datetime(2019, 11, day, hour, minute, second, tzinfo=UTC).timestamp())


def events(data: Dataset) -> list[tuple[str, str, int]]:
    """Return user id, item id and time of each event."""
    one = data.interactions
    users, items = data.users.decode(one.users).to_list(), data.items.decode(one.items).to_list()
    return list(zip(users, items, one.times.tolist(), strict=True))


def lists(data: Dataset) -> list[tuple[str, int, list[str], list[bool], bool]]:
    """Return user id, time, items, clicks and whether these are known, of each impression."""
    one = data.impressions
    items, clicked = data.items.decode(one.items).to_list(), one.clicked.tolist()
    bounds = [slice(*pair) for pair in zip(one.offsets[:-1], one.offsets[1:], strict=True)]
    columns = (data.users.decode(one.users).to_list(), one.times.tolist(), one.labelled.tolist())
    return [
        (user, time, items[bound], clicked[bound], known)
        for user, time, known, bound in zip(*columns, bounds, strict=True)
    ]


def everything(data: Dataset) -> dict[str, object]:
    """Return all that a data set holds but its name, so that two can be compared."""
    return {
        "items": data.items.ids.to_list(),
        "users": data.users.ids.to_list(),
        "table": data.item_table.to_dict(as_series=False),
        "events": events(data),
        "values": data.interactions.values.tolist(),
        "impressions": lists(data),
        "clock": data.clock,
    }
