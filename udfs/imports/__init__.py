"""Reading what another tool wrote: WebDataset tars, folders of files, Parquet files with bytes; each is a shard of samples."""
