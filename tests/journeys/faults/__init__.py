"""The fault suite: what may go wrong under a queue, by number, on every pair of store and broker."""
