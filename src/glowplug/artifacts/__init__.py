"""Where artifacts are kept: a folder on disk, object storage, or a gateway that is asked for them."""
