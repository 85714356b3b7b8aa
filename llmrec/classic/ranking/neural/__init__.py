"""Parts of the torch rankers: fields as vectors, layers that let fields interact, and the base of the models."""
