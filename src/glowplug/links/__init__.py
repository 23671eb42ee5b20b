"""Links: the ways that a worker's messages travel to the gateway and back."""
