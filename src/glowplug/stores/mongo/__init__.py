"""The store on MongoDB: one document for each job, changed by compare-and-set; no transaction over several."""

from glowplug.stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
