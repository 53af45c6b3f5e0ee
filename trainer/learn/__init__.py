"""Training: settings, batches, the loop, checkpoints."""
