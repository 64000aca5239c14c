"""Predicts many images without a server: inputs, predictions, numbered parts and their joining."""
