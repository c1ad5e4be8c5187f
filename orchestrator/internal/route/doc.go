// Package route is the closed table of everything that a listener of the
// orchestrator answers, and the one way in: who calls, whether they may, how much
// they may send, and what an error looks like.
//
// It owns admission and refuses to know what a route does. A handler gets its
// caller and its whole body; it cannot be reached in another way.
//
//	request ─ row? ─ who ─ may ─ {agent_id} ─ rate ─ in flight ─ body ─ handler ─ JSON
//	          404    401   403   403          429    429         413/400         or error
//	          405
//
// # Invariants
//
//   - An [ID] can only be made here, [Build] fails when a row has no handler or a
//     handler no row: nothing is served that has no row, and every row says who may
//     call it. Exactly one row of the agent listener needs no client certificate.
//   - An agent is admitted anew on every request ([Gate]), never once for a
//     connection: an expired, superseded or revoked certificate is refused on the
//     connection that it opened while it was good.
//   - On the web listener the same rows are served as on the operator socket, to users whose
//     role includes the row's, in their own organisation alone. What passes for one is asked
//     of [People] on each request. Requests that name another host, or come from the page of
//     another site, are refused before anything is read of them.
//   - {agent_id} in a path is only compared with the certificate. A difference is
//     403 identity_mismatch and reported to [Gate.Refused], which audits it.
//   - A body is read whole before the handler runs, bounded on the wire and again
//     when expanded, within 30 s, or 5 s where it may have 64 KiB at most; an answer is written within 30 s. A handler may
//     wait as long as it likes in between: that is a long poll. An upload is bounded and
//     read by its handler, a file is written as fast as the client takes it; neither may
//     stand still for 30 s.
//   - Every answer is JSON, newline-delimited JSON, server-sent events, a file, or has no body. Every error has
//     the shape of [api.ErrorBody] with a request id that the log has too.
//   - A panic of a handler is a 500 and a log record, not the end of the server.
//
// # Concurrency
//
// What Build returns may serve any number of requests at once. The context of a
// handler ends when the client goes away and when the gate withdraws admission; in
// that case the cause of the context, an [*api.Error], becomes the answer.
//
// # How to debug it
//
// The id in the X-Request-Id header and in the error body is the request attribute
// of the log record. `go test ./orchestrator/internal/agentapi -run Matrix -v`
// prints what every principal gets on every route.
package route
