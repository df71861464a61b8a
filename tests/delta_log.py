"""Writes Delta tables as other programs leave them, with deletion vectors and renamed columns, which deltalake does not write."""

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

# The characters of base 85 in Python, and of Z85, in which Delta writes short deletion vectors.
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
FEATURES = ("columnMapping", "deletionVectors")


def deletion_vector(rows: Sequence[int]) -> dict[str, Any]:
    """Return a deletion vector for these rows of a file, of which there are less than 65,536, as a log holds it."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    text = base64.b85encode(data + bytes(-len(data) % 4)).translate(bytes.maketrans(_B85, _Z85)).decode()
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": len(rows)}


def field(name: str, physical: str | None = None, kind: Any = "string") -> dict[str, Any]:
    """Return a column, as a log describes it; its name in files is a letter and its number."""
    metadata = {"delta.columnMapping.physicalName": physical, "delta.columnMapping.id": int(physical[1:])} if physical else {}
    return {"name": name, "type": kind, "nullable": True, "metadata": metadata}


def protocol(*features: str) -> dict[str, Any]:
    """Return the line of a log that says what its readers must know of."""
    return {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}}


def metadata(fields: Sequence[dict[str, Any]], partitions: Sequence[str] = (), **configuration: str) -> dict[str, Any]:
    """Return the line of a log that describes a table."""
    schema = json.dumps({"type": "struct", "fields": fields})
    form = {"provider": "parquet", "options": {}}
    table = {"id": "1", "format": form, "schemaString": schema, "partitionColumns": partitions, "createdTime": 0}
    return {"metaData": table | {"configuration": {f"delta.{name.replace('_', '.')}": value for name, value in configuration.items()}}}


def add(
    table: Path, name: str, columns: dict[str, Any], partition: dict[str, Any] | None = None, deleted: Sequence[int] = ()
) -> dict[str, Any]:
    """Write a file of a table, with row groups of three rows, and return the line of a log that adds it."""
    (table / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), table / name, row_group_size=3)
    rows = json.dumps({"numRecords": len(next(iter(columns.values())))})
    action = {"path": quote(name), "partitionValues": partition or {}, "size": (table / name).stat().st_size, "modificationTime": 0}
    return {"add": action | {"dataChange": True, "stats": rows} | ({"deletionVector": deletion_vector(deleted)} if deleted else {})}


def commit(table: Path, *lines: dict[str, Any]) -> Path:
    """Write the next version of a table."""
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    (log / f"{len(list(log.iterdir())):020}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return table
