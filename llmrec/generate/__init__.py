"""GIRL: texts that say what a user wants, how good they are, and what they are good for."""
