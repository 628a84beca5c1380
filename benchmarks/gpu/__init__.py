"""``make gpu-check``: every test marked ``gpu``, then each way to run a U²-Net on one GPU, timed in turns.

Workers in other Pythons import from here, so nothing here imports torch.
"""
