"""What runs on executors: Arrow batches in, Arrow batches out. No SparkSession, no py4j, no table names."""
