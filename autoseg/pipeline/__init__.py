"""The verbs on a RUN folder: each reads what the one before wrote, and does only what is stale."""
