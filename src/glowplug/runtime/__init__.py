"""The worker: it takes work only while its models are ready, keeps its leases, and answers direct calls."""
