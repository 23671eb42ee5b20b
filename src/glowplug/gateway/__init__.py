"""The gateway: takes jobs in, hands them to workers that are ready, and tells everybody what became of them."""
