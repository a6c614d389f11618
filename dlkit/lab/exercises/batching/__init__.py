"""Samples into batches: which indices, which shape, what to do with the rest."""
