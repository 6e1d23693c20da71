"""From a dataset in numbers and a budget to a plan, and the plan explained in words."""
