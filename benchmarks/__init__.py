"""One script per claim of the README; peers are measured in the same run."""
