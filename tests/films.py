"""Small MovieLens sets in the form of every edition, and how tests write and compare them."""

from collections.abc import Mapping
from pathlib import Path

from llmrec.data import Dataset

NO_FLAGS = "|0" * 18
EDITIONS: dict[str, dict[str, bytes]] = {
    "100k": {
        "u.item": (
            "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M?Toy%20Story|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
            f"267|unknown||||1{NO_FLAGS}\n"
            "543|Misérables, Les (1995)|01-Jan-1995||http://x/?a|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
        ).encode("latin-1"),
        "u.data": b"196\t543\t3\t881250949\n22\t267\t1\t878887116\n196\t1\t5\t881250949\n",
        "u.user": b"22|25|M|writer|T8H1N\n196|49|F|none|55105\n",
    },
    "1m": {
        "movies.dat": "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama\n".encode(
            "latin-1"
        ),
        "ratings.dat": b"4::73::3::978300760\n2::1::5::978302109\n4::1::4::978300760\n",
        "users.dat": b"2::M::56::16::70072\n4::F::1::10::98107-2117\n",
    },
    "10m": {
        "movies.dat": (
            '51372::"Great Performances" Cats (1998)::Musical\n'
            "8606::Pull My Daisy (1958)::(no genres listed)\n"
            "29::City of Lost Children, The (Cité des enfants perdus, La) (1995)::Fantasy|Sci-Fi\n"
        ).encode(),
        "ratings.dat": b"1::29::0.5::838985046\n7::51372::4.5::838983525\n",
        "tags.dat": (
            '7::29::"French" film::1200000000\n'
            "7::29::2:1::1200000001\n"
            "9::29::ratio::2::1200000002\n"
            "9::29::ends with:::1200000003\n"
            "7::51372::Élan::1200000004\n"
        ).encode(),
    },
    "csv": {
        "movies.csv": (
            b"movieId,title,genres\n"
            b'7,"Usual Suspects, The (1995)",Crime|Mystery\n'
            b"3,Babylon 5,(no genres listed)\n"
            b'9,"""Great Performances"" Cats (1998)",Musical\n'
        ),
        "ratings.csv": b"userId,movieId,rating,timestamp\n20,7,4.5,300\n20,9,1.0,100\n5,7,3.0,100\n5,9,0.5,200\n",
        "tags.csv": (
            b"userId,movieId,tag,timestamp\n"
            b'20,7,"twist, final",100\n'
            b'5,7,"the ""usual""",200\n'
            b"20,7,crime,300\n"
            b"5,7, CRIME ,400\n"
            b"5,9,,500\n"
            b"5,9,   ,600\n"
        ),
    },
}


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files, name -> content, to a folder."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def with_row(files: Mapping[str, bytes], name: str, row: bytes, line: int) -> dict[str, bytes]:
    """Return the files with one more row, which becomes the line of that number (from 1) in one of them."""
    rows = files[name].splitlines(keepends=True)
    rows.insert(line - 1, row + b"\n")
    return {**files, name: b"".join(rows)}


def events(data: Dataset) -> list[tuple[int, int, float, int]]:
    """Return user id, item id, value and time of each event."""
    one = data.interactions
    users, items = data.users.decode(one.users).to_list(), data.items.decode(one.items).to_list()
    return list(zip(users, items, one.values.tolist(), one.times.tolist(), strict=True))


def everything(data: Dataset) -> dict[str, object]:
    """Return all that a loader has read, as plain Python values."""
    return {
        "events": events(data),
        "items": data.items.ids.to_list(),
        "users": data.users.ids.to_list(),
        "item_table": data.item_table.to_dict(as_series=False),
        "user_table": None if data.user_table is None else data.user_table.to_dict(as_series=False),
    }
