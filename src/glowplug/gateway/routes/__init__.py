"""The gateway's routes, one noun a file; they decode, call and encode, and decide nothing."""
