"""CT-like phantoms of an abdomen, for the demo and the tests."""
