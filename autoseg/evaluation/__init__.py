"""Scores of cases, the tables made of them, and comparisons between methods."""
