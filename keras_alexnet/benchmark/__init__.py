"""Measures training, inference, input and distribution strategies."""
