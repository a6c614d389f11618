"""Whole problems, as an interview gives them: a loader, and a training script for several ranks."""
