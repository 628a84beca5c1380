"""The benchmark of every way to run a U²-Net on this machine, each in a process of its own, in turns."""
