"""Bug hunts: broken code as it circulates, to be diagnosed first and repaired then."""
