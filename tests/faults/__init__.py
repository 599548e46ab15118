"""The fault matrix: one test per row, each named by its number, all under one law (``law``)."""
