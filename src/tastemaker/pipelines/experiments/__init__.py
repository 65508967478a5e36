"""Experiments over the stores: measured from the lake, and reported."""
