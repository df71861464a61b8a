"""Read the rows of JSON, CSV, Parquet and Excel files, plain or compressed, one at a time, including broken rows."""

from pipeline.records.csv_rows import PLAIN, Dialect, csv_header, csv_rows, csv_spans, csv_text
from pipeline.records.delta import DELTA_LOG, Live, live_files, live_of, with_live
from pipeline.records.jsonl import jsonl_rows
from pipeline.records.kinds import FILES, STDIN, InputFormat, is_stream, kind_of, name_of, partitions_of
from pipeline.records.parquet import batch_rows, parquet_batches, parquet_columns, parquet_groups, parquet_length
from pipeline.records.reading import file_rows, missing_column, note_columns, read_rows, text_columns, text_rows, with_partitions
from pipeline.records.rows import MAX_RECORD, UNCLOSED, BrokenRow, Row, found_columns, line_runs, named_with, read_lines, shown_columns
from pipeline.records.text import Tell, TextFile, ignore, open_text, stamp_of

__all__ = [
    "DELTA_LOG",
    "FILES",
    "MAX_RECORD",
    "PLAIN",
    "STDIN",
    "UNCLOSED",
    "BrokenRow",
    "Dialect",
    "InputFormat",
    "Live",
    "Row",
    "Tell",
    "TextFile",
    "batch_rows",
    "csv_header",
    "csv_rows",
    "csv_spans",
    "csv_text",
    "file_rows",
    "found_columns",
    "ignore",
    "is_stream",
    "jsonl_rows",
    "kind_of",
    "line_runs",
    "live_files",
    "live_of",
    "missing_column",
    "name_of",
    "named_with",
    "note_columns",
    "open_text",
    "parquet_batches",
    "parquet_columns",
    "parquet_groups",
    "parquet_length",
    "partitions_of",
    "read_lines",
    "read_rows",
    "shown_columns",
    "stamp_of",
    "text_columns",
    "text_rows",
    "with_live",
    "with_partitions",
]
