"""The towers in PyTorch, the losses, and where the products' offsets start."""
