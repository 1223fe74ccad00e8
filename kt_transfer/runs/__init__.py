"""The run folder: created, locked, written, read back."""
