"""The command line: parse, one call, tell the result."""
