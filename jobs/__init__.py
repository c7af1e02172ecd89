"""What spark-submit runs: one short script a verb of `v2d`. Nothing imports these."""
