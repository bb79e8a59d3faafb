#!/usr/bin/env bash
# Runs the container as the platform does: no network, read-only input, not root.
set -euo pipefail
if [ $# -ne 3 ]; then
  echo "usage: docker/try.sh INPUT OUTPUT MODEL" >&2
  exit 2
fi
mkdir -p "$2"
docker run --rm --network none --memory 16g --shm-size 128m --cap-drop ALL \
  --security-opt no-new-privileges --tmpfs /tmp \
  -v "$(realpath "$1")":/input:ro -v "$(realpath "$2")":/output -v "$(realpath "$3")":/opt/ml/model:ro \
  nodulenet-luna25
