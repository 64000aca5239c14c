"""Keras callbacks for `model.fit` and the train command."""
