"""The store of records: sealed folders, the JSON format of records, and the provenance stored with them."""

from taskclust.store.codec import RecordError, decode, encode
from taskclust.store.folders import CorruptRecordWarning, Store, StoreError, lock_of

__all__ = ["CorruptRecordWarning", "RecordError", "Store", "StoreError", "decode", "encode", "lock_of"]
