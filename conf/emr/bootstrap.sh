#!/usr/bin/env bash
# On each machine of EMR on EC2, before it takes part: what OpenCV needs of the system.
set -euo pipefail
sudo dnf install --assumeyes mesa-libGL glib2
