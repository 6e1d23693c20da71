"""Datasets: what they consist of, what each case is like, what is wrong with them, how they are split."""
