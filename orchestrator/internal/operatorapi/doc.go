// Package operatorapi is the API for the people who run the orchestrator, and the
// client of it that the command line uses. It is served on a Unix socket in the data
// directory.
//
// It owns the shape of what people see (the types of this package are what
// `stavily … -o json` prints, and only gain fields) and refuses to decide anything:
// every handler is one call of the engine.
//
// # Who may
//
// Whoever can open the socket: it has mode 0600 in a directory of mode 0700, so that
// is the user that the server runs as, and root. No password or token guards it in
// this version, and it is not reachable over a network.
//
// # Shape
//
//	GET  /api/v1/health
//	POST /api/v1/tokens            GET  /api/v1/tokens
//	GET  /api/v1/agents[/{id}]     POST /api/v1/agents/{id}/revoke
//	POST /api/v1/workflows         GET  /api/v1/workflows[/{id}]    DELETE /api/v1/workflows/{id}
//	GET  /api/v1/runs[/{id}]       POST /api/v1/runs/{id}/cancel
//	GET  /api/v1/runs/{id}/logs    GET  /api/v1/runs/{id}/follow
//	GET  /api/v1/events            GET  /api/v1/events/follow
//	GET  /api/v1/audit
//	POST /api/v1/plugins           GET  /api/v1/plugins[/{id}]
//	POST /api/v1/plugins/{id}/versions/{version}/approve   DELETE …/{version}
//	POST /api/v1/plugins/{id}/assignments                  DELETE …/assignments
//	POST /api/v1/plugins/{id}/rollout                      GET  /api/v1/rollouts
//	POST /api/v1/publishers        GET  /api/v1/publishers              DELETE /api/v1/publishers
//
// The query parameter org names the organisation, by default "default". A follow
// route answers newline-delimited JSON for as long as the client reads; a follower
// of a run ends with the run. Errors are those of the Agent API.
//
// # How to debug it
//
//	curl --unix-socket <data>/operator.sock http://stavily/api/v1/health
package operatorapi
