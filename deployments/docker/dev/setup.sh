#!/usr/bin/env bash
# The one-time part of docker-compose.dev.yml, in the server's image: /app is the volume that all share.
set -euo pipefail
mkdir -p /app/reports /app/enrol
stavily workflows apply -f /clean-when-full.yaml
for type in sensor action; do
  # The last line of what this prints is the command that enrols the agent.
  stavily tokens create --type "$type" --agent-id "dev-$type" | tail -n 1 >"/app/enrol/$type-agent"
done
