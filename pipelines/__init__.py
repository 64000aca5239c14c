"""From stored photographs to batches; knows nothing of the network."""
