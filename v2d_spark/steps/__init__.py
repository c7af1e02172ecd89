"""What a job does, on the driver: one module a step."""
