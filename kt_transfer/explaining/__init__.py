"""Why a classifier says so: which pixels and which columns carry its answers."""
