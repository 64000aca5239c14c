"""Where a network runs: strategies, device placement of the towers, and clusters of processes."""

# Values of `--strategy`; here, because flags need them without TensorFlow.
STRATEGIES = ("auto", "single", "mirrored", "towers", "multiworker")
