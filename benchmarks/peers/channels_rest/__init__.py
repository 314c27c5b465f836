"""The shop behind djangochannelsrestframework, as its documentation builds it."""
