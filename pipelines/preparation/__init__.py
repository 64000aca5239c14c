"""The work of `pipelines.prepare`: resized images, shards, statistics."""
