// Package brake holds up those who come too often: token buckets by key, of which nobody can
// make so many that memory runs out.
//
// It owns one bucket (golang.org/x/time/rate) for each key that lately took something, and
// refuses to know what is taken: package account counts logins, package route counts requests,
// and refusals of those that guess.
//
//	Take(key) ─▶ a whole token is there ─▶ taken
//	          └▶ else ───────────────────▶ how long until there is one
//
// What is free for those who are right is paid in one of two ways. Take and GiveBack: no more than
// the burst are under way at once, also of those who are right. Look and Charge: any number is, and
// those who were wrong have paid for all before the next is let through.
//
// # Invariants
//
//   - A key that recovered whole is forgotten, so that what is kept is as large as the number
//     of those who come in the time that a bucket takes to fill.
//   - There are never more than a fixed number of keys, and of a long one its digest is kept.
//     Where all are in use, those are forgotten that would recover first; who has nothing left
//     stays held up, however many others come.
//
// # Failure, and how to debug it
//
// Take has no errors. Whoever is refused is told how long to wait; metrics count the
// refusals of each route by the code `rate_limited`.
package brake
