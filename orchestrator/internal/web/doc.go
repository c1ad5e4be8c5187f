// Package web is the dashboard: pages that the server renders, for browsers, on the web
// listener. There is no build step and no library in the browser; one style sheet and one
// small script are embedded with the templates.
//
// It owns what people see of the organisation and refuses to decide anything: a page is one
// consistent view of the store, a button one call of the engine. Every page answers whether
// it is fine, what changed, and what to do.
//
// # Shape
//
// One small file a page: a struct of what its template shows, a function that reads it, and
// the functions of its buttons. Every state has a URL; filters are query parameters. A button
// is a form that is posted and answered with a redirect, so that everything works without
// the script but for what is live and for the checks while somebody types.
//
//	GET page ─ read one view ─ template ─ whole page
//	GET page, Accept: text/event-stream ─ the same again whenever something changed ─ its main part
//	POST button ─ engine ─ 303 to the page that shows it, or the page with what was refused
//
// # Invariants
//
//   - All templates are parsed and every page is named when the server starts.
//   - Nothing is inline: no style, no script, no handler attribute. The policy in the header
//     allows this origin's files and nothing else.
//   - Files have the hash of their content in their name and may be kept for ever.
//   - What an agent, a plugin or a person wrote is escaped by html/template wherever it is shown.
//   - A page reads a bounded number of records, however many there are.
//   - A stream ends after five minutes and the browser asks again: so nobody goes on to look
//     whose session has ended.
//
// # How to debug it
//
// The page says what failed and has the id of the request, which the server's log has too. The stream of a page:
// curl -N -H 'Accept: text/event-stream' -H 'Authorization: Bearer TOKEN' https://…/runs
package web
