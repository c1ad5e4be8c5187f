package api

import _ "embed"

// OpenAPI is the OpenAPI 3.1 document of the Agent API, in YAML. Do not change it.
//
//go:embed openapi.yaml
var OpenAPI []byte
