// Package operatorapi is the API for the people who run the orchestrator, and the
// client of it that the command line uses. It is served on a Unix socket in the data
// directory, and over HTTPS where there is a web listener.
//
// It owns the shape of what people see (the types of this package are what
// `stavily … -o json` prints, and only gain fields) and refuses to decide anything:
// every handler is one call of the engine.
//
// # Who may
//
// Whoever can open the socket: it has mode 0600 in a directory of mode 0700, so that is the
// user that the server runs as, and root, as admin of every organisation. And, on the web
// listener, users with the role that the route's row asks for, each in one organisation; see
// packages account and route.
//
// # Shape
//
// openapi.json is the OpenAPI 3.1 document of all routes, which is served too
// (GET /api/v1/openapi.json). A test makes it of the table of routes, of operations.go and
// of the Go types with their comments; a route that is not in operations.go keeps the
// server from starting.
//
// The query parameter org names the organisation, by default "default". A follow
// route answers newline-delimited JSON or server-sent events for as long as the client
// reads; a follower of a run ends with the run. A long list comes in pages (pages.go). A
// query parameter that a route does not have is refused.
// Errors are those of the Agent API.
//
// # How to debug it
//
//	curl --unix-socket <data>/operator.sock http://stavily/api/v1/health
package operatorapi
