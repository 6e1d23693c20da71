"""From a dataset to a plan: check, fingerprint, rules, words."""
