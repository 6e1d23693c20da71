"""What the verbs do: each step of the pipeline on a RUN."""
