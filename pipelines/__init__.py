"""Images on disk to batches; knows nothing about networks. Importing it has no side effects."""
