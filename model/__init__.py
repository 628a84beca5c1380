"""U²-Net: the networks, their loss, their checkpoints and their training; each module is imported by its own name."""
