"""Pictures of the demonstrations: arrays and numbers in, one picture out."""

from dlkit.plots.demos.games import forged_points, walked_grid
from dlkit.plots.demos.networks import filters_and_maps, gradient_flow, two_spirals
from dlkit.plots.demos.training import few_labels, memory_over_distance, soft_and_hard

__all__ = [
    "few_labels",
    "filters_and_maps",
    "forged_points",
    "gradient_flow",
    "memory_over_distance",
    "soft_and_hard",
    "two_spirals",
    "walked_grid",
]
