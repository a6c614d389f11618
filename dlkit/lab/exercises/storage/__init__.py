"""Data on disks: rows, records, caches, and what goes wrong with them."""
