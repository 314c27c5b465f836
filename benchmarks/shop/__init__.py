"""A small Django app, as a user would write it: what both sides are measured with."""
