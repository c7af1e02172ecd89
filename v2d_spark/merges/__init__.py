"""All SQL that changes `sources` and `samples`. Nothing else writes such a text.

Every merge names the source_num range of its batch, so that Delta skips files, and is guarded by batch_id, so that a
replay changes nothing.
"""

from __future__ import annotations

from v2d_spark.merges.chain import merge_origins
from v2d_spark.merges.due import FROM_SHARD, MADE, due_condition, kind_conditions, reset_sources, tried_again
from v2d_spark.merges.enrichment import due_samples, merge_enrichment
from v2d_spark.merges.erase import erase_rows, erase_rows_with_bytes, forget_log, purge, rewrite_small_table
from v2d_spark.merges.fill import merge_found
from v2d_spark.merges.importing import merge_imported
from v2d_spark.merges.ingest import append_sources, merge_captions, merge_changed_sources
from v2d_spark.merges.making import merge_outcomes, merge_samples, outcomes_query, samples_query
from v2d_spark.merges.prune import merge_gone
from v2d_spark.merges.statements import may_have_samples, remove_samples, run_merge
from v2d_spark.merges.trial import claim_changed, copy_rows

__all__ = [
    "FROM_SHARD",
    "MADE",
    "append_sources",
    "claim_changed",
    "copy_rows",
    "due_condition",
    "due_samples",
    "erase_rows",
    "erase_rows_with_bytes",
    "forget_log",
    "kind_conditions",
    "may_have_samples",
    "merge_captions",
    "merge_changed_sources",
    "merge_enrichment",
    "merge_found",
    "merge_gone",
    "merge_imported",
    "merge_origins",
    "merge_outcomes",
    "merge_samples",
    "outcomes_query",
    "purge",
    "remove_samples",
    "reset_sources",
    "rewrite_small_table",
    "run_merge",
    "samples_query",
    "tried_again",
]
