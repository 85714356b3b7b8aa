"""Parts of the rankers: rows, statistics, fields, layers, and the folder they are stored in."""
