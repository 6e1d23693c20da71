"""Plan files that ship with autoseg; read by `autoseg plan --preset NAME`."""
