"""Losses, schedules, callbacks, the distiller, and how a training step is executed."""
