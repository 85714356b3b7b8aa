"""Small tables of events and items in each format, and events read back as plain rows."""

import json

import polars as pl

from llmrec.data import Dataset

EVENTS = [("20", "7", 300, 4.5), ("20", "9", 100, 1.0), ("5", "7", 100, 3.0), ("5", "9", 200, 2.0)]
ITEMS = [("9", "Heat", ["Action", "Crime"]), ("3", None, []), ("7", "Toy Story", ["Comedy"])]
EVENT_KEYS, ITEM_KEYS = ("user", "item", "time", "value"), ("item", "title", "genres")


def lines(keys, rows, separator=","):
    cells = [keys, *([";".join(cell) if isinstance(cell, list) else cell for cell in row] for row in rows)]
    return "".join(separator.join("" if cell is None else str(cell) for cell in row) + "\n" for row in cells).encode()


def objects(keys, rows):
    return [dict(zip(keys, row, strict=True)) for row in rows]


def json_lines(keys, rows):
    return "".join(json.dumps(each) + "\n" for each in objects(keys, rows)).encode()


def parquet(keys, rows, path):
    pl.DataFrame(objects(keys, rows)).write_parquet(path)
    return path.read_bytes()


FORMATS = {
    "csv": lambda keys, rows, _: lines(keys, rows),
    "tsv": lambda keys, rows, _: lines(keys, rows, "\t"),
    "inter": lambda keys, rows, _: lines(keys, rows, "\t"),
    "jsonl": lambda keys, rows, _: json_lines(keys, rows),
    "json": lambda keys, rows, _: json.dumps(objects(keys, rows), indent=1).encode(),
    "parquet": parquet,
}


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def events(data: Dataset):
    one = data.interactions
    users, items = data.users.decode(one.users).to_list(), data.items.decode(one.items).to_list()
    return list(zip(users, items, one.times.tolist(), one.values.tolist(), strict=True))


BY_TIME = [(20, 9, 100, 1.0), (5, 7, 100, 3.0), (5, 9, 200, 2.0), (20, 7, 300, 4.5)]
