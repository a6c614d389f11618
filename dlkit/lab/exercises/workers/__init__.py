"""Threads and processes that fetch ahead: order, limits, errors, and a clean end."""
