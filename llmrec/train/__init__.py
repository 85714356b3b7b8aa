"""Fine-tuning: from rows of prompt and answer to an adapter that any engine ranks with."""
