"""Where records are kept: sealed folders, their format, their way between machines, their provenance."""

from taskclust.store.codec import RecordError, decode, encode
from taskclust.store.folders import CorruptRecordWarning, Store, StoreError

__all__ = ["CorruptRecordWarning", "RecordError", "Store", "StoreError", "decode", "encode"]
