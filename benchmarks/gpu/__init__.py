"""``make gpu-check``: the suite on a GPU, from a bare source tree."""
