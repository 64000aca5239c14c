"""Weights from files."""


def load_weights(model, path, variant):
    """Loads."""
    model.load_weights(path)
