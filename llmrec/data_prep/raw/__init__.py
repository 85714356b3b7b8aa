"""Raw files -> checked tables: fast where all is well, and exact about the line where it is not."""
