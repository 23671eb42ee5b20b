"""What only a GPU shows: bandwidths of the machine, time to ready, images per second, switching between two models."""
