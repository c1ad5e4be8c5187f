# Agent settings
export STAVILY_AGENT_ID="sensor-001"
export STAVILY_AGENT_NAME="My Sensor Agent"
export STAVILY_AGENT_TYPE="sensor"
export STAVILY_AGENT_ORGANIZATION_ID="org-123"
export STAVILY_AGENT_BASE_DIR="/opt/stavily"

# API settings
export STAVILY_API_BASE_URL="https://agents.stavily.com"
export STAVILY_API_TIMEOUT="30s"
export STAVILY_API_AUTH_TYPE="certificate"
export STAVILY_API_AUTH_CERT_FILE="/certs/client.crt"
export STAVILY_API_AUTH_KEY_FILE="/certs/client.key"
export STAVILY_API_AUTH_CA_FILE="/certs/ca.crt"

# Logging settings
export STAVILY_LOGGING_LEVEL="info"
export STAVILY_LOGGING_FORMAT="json"
export STAVILY_LOGGING_FILE="/var/log/stavily/agent.log"

# Security settings
export STAVILY_SECURITY_SANDBOX_ENABLED="true"
export STAVILY_SECURITY_TLS_ENABLED="true"

# Plugin settings
export STAVILY_PLUGINS_DIR="/opt/stavily/plugins"
export STAVILY_PLUGINS_AUTO_UPDATE="true"

# Health check settings
export STAVILY_HEALTH_ENABLED="true"
export STAVILY_HEALTH_PORT="8080"

# Metrics settings
export STAVILY_METRICS_ENABLED="true"
export STAVILY_METRICS_PORT="9090"
