"""The shop's rows, for those who know no Django: what there is, and what clients see of it."""

FIELDS = ["id", "title", "category", "status", "price", "stock", "created_at"]
"""What both sides show."""
ROWS = 1000
"""Rows that are read and never changed; keys from 1."""
CATEGORIES = 10
"""Of these rows: the key modulo this."""
CHANGED = 1001
"""The first key of ROWS_CHANGED rows that are changed."""
ROWS_CHANGED = 10
