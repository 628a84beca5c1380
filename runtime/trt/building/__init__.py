"""Compile graphs. Nothing here opens or runs an engine."""
