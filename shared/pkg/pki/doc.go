// Package pki is what agents and orchestrator both need of X.509: keys, requests,
// the identity in a certificate, and the TLS settings of both sides.
//
// It owns the form of an identity and the three files of an agent (key,
// certificate, CA). It signs no certificate (orchestrator/internal/ca does), knows
// no revocation (the orchestrator asks its store on every request) and never
// sends a private key anywhere.
//
//	spiffe://<trust domain>/org/<organisation>/<sensor|action>/<agent id>
//
//	SaveCredentials   <key>.new ─▶ <ca> ─▶ <cert> ─▶ rename <key>.new to <key>
//	LoadCredentials   <cert> + <key>, or <cert> + <key>.new after a crash in between
//	Reload            the same into the Credentials in use, whole or not at all
//
// # Invariants
//
//   - An identity is the one URI SAN of a leaf. No URI, two URIs, a CA, or anything
//     that [Identity.URI] would not write byte for byte is an error; the common
//     name is never looked at.
//   - Keys are ECDSA P-384 or RSA of 4096 to 8192 bits, in requests as in files.
//   - A crash or full disk at any point of SaveCredentials leaves a key and a
//     certificate that belong together.
//   - TLS 1.3 by default, 1.2 on request and never less. No session is resumed and no
//     ticket is given, so that every connection verifies the certificates anew
//     (go.dev/issue/77217: a resumed one does not check its chain).
//   - InsecureSkipVerify stands in this package once, in [PinnedTLS], which verifies
//     the chain, the purpose and the name of the server itself.
//
// An expired certificate loads, with a warning: an agent whose certificate ran out
// while it was offline must still start, collect and say what is wrong.
//
// # Concurrency
//
// [Credentials] are safe for concurrent use and swap as a whole; the rest has no state.
//
// # How to debug it
//
// `openssl x509 -in client.crt -noout -ext subjectAltName,extendedKeyUsage -dates`
// shows what is checked; [Fingerprint] is `openssl x509 -in ca.crt -outform DER | sha256sum`.
package pki
