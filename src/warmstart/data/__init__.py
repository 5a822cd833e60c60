"""Data: files to table, table to rows, rows to splits, splits to batches."""
