"""Who reads which sample, when several ranks and workers share one epoch."""
