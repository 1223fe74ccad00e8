"""Run folders: creation, locking, writing and reading."""
