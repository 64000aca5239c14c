"""The training loop and what it needs: config, context, input, training step, evaluation."""
