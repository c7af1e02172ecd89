#!/usr/bin/env bash
# Tells Spark which GPUs this machine or container has, as spark.worker.resource.gpu.discoveryScript and
# spark.executor.resource.gpu.discoveryScript want it: {"name": "gpu", "addresses": ["0","1"]}
set -euo pipefail
addresses=$(nvidia-smi --query-gpu=index --format=csv,noheader | sed 's/.*/"&"/' | paste -s -d, -)
echo "{\"name\": \"gpu\", \"addresses\": [$addresses]}"
