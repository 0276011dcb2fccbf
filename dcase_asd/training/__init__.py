"""One training loop for everything that learns: samplers, mixup, losses, optimisers, precision, checkpoints, resume."""
