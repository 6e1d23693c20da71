"""Scores, tables, report."""
