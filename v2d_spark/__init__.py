"""v2d_spark: a table of video URLs becomes a training set, with Spark, Delta and SQL."""
