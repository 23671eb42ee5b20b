"""One model, one process: the host in the parent, the child with the heavy imports, and their messages."""
