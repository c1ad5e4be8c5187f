package api

// ProtocolLate is among the protocols that a client offers in its TLS handshake (ALPN) where it comes
// for a renewal with a certificate that has ended. What is spoken then is HTTP/1.1.
const ProtocolLate = "stavily-renewal"

// Path patterns of the Agent API, in the syntax of net/http.ServeMux.
const (
	PathEnroll       = "/agents/v1/enroll"
	PathCertificate  = "/agents/v1/{agent_id}/certificate"
	PathDownload     = "/v1/agents/certificates/{file}"
	PathToken        = "/agents/v1/{agent_id}/token"
	PathHeartbeat    = "/agents/v1/{agent_id}/heartbeat"
	PathInstructions = "/agents/v1/{agent_id}/instructions"
	PathInstruction  = "/agents/v1/{agent_id}/instructions/{id}"
	PathResult       = "/agents/v1/{agent_id}/instructions/{id}/result"
	PathEvents       = "/agents/v1/{agent_id}/events"
	PathLogs         = "/agents/v1/{agent_id}/logs"
	PathPlugins      = "/agents/v1/{agent_id}/plugins"
	PathMonitors     = "/agents/v1/{agent_id}/monitors"
	PathPackage      = "/agents/v1/{agent_id}/plugins/{plugin_id}/{version}"
)
