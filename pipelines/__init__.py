"""From stored photographs to batches; knows nothing of the network."""

# Before anything else that loads TensorFlow: this loads it without its start-up chatter.
from pipelines import cli as cli
