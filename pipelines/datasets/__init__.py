"""Labelled images by name: image folders, ImageNet, TFDS datasets and prepared shards."""
