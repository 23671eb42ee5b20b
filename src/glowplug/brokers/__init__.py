"""Adapters of the broker contract: `rows`, where the job rows themselves are the queue."""
