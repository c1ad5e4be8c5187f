// Package ca is the certificate authority of one orchestrator: it makes the CA at
// the first start and issues the certificates of agents and of the server itself.
//
// It owns <data>/ca and the private key in it, and nobody else signs. It refuses to
// decide who gets a certificate: the caller states the identity, having checked a
// token or the certificate that is renewed. Nothing that a certificate request
// claims (subject, names, usages) reaches a certificate; only its key does.
//
//	<data>/ca/ca.key   PKCS#8, ECDSA P-384, mode 0600, made exclusively and whole
//	<data>/ca/ca.crt   self-signed, 10 years, path length 0, URI spiffe://<trust domain>
//
// A CA is replaced by the next in four steps, each of which is one replacement of one file:
//
//	            prepare            activate              taint               revoke
//	 active ───────────▶ active ───────────▶ old    ───────────▶ tainted ───────────▶ (gone)
//	                     prepared            active              active               active
//	 signs:   first      first               second              second               second
//	 agents are to trust: both               both                second               second
//	 agents may come with a certificate of:
//	          first      both                both                both                 second
//
//	<data>/ca/rotation.json   what each CA is, from the first rotation on: this file decides
//	<data>/ca/ca-….key        keys of the second and later ones
//	<data>/ca/ca.crt          the certificates that agents are to trust, for people
//
// # Invariants
//
//   - An agent's certificate has exactly one URI SAN, spiffe://<trust domain>/org/
//     <org>/<type>/<agent>, client authentication as its only extended usage, lives 90
//     days, or as Options.Lifetime says, and never longer than the CA.
//   - The server's certificate has server authentication only. Its key never touches a
//     disk: it is made anew at each start and at two thirds of its life.
//   - The trust domain is written into the CA when it is made. Opening it with another
//     one is an error, because every agent would have to be enrolled again.
//   - Serials are 128 random bits, so they are unique without a counter to lose.
//
// # Concurrency
//
// An [Authority] is safe for concurrent use. Several servers may share a directory: one at
// a time takes a step, which the caller sees to, and the others take it up with
// [Authority.Refresh].
//
// # Failure
//
// A crash while the CA is made leaves either nothing, or a key that the next start
// completes with a certificate. A certificate without its key is an error that says
// so: making another CA silently would lock out every agent.
package ca
