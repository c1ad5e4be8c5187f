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
// An [Authority] is safe for concurrent use. One process opens a directory at a
// time; the server's lock on its data directory sees to that.
//
// # Failure
//
// A crash while the CA is made leaves either nothing, or a key that the next start
// completes with a certificate. A certificate without its key is an error that says
// so: making another CA silently would lock out every agent.
package ca
