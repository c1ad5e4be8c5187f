// Package sealed is how the values of secrets travel from the orchestrator to the one
// agent that runs a step: encrypted to a key that only this agent has, so that whoever
// reads the wire, a proxy's log or a journal reads ciphertext.
//
//	orchestrator: Contents ──Seal(public key, Binding)──▶ bytes ──Key.Open(Binding)──▶ Contents: agent
//
// It is HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and AES-256-GCM. The
// [Binding] is HPKE's info: what was sealed for one attempt of one instruction by one
// agent of one organisation opens as nothing else. A new ephemeral key is made for
// each sealing, so equal secrets give different bytes.
//
// Base mode does not say who sealed it. The agent knows that from the connection: it
// takes contents only in the answer to its own claim, over TLS that it has verified.
//
// # Invariants
//
//   - A value is put only where a [Fill] says: into a place of the input that exists and
//     holds text. The text of an input is never searched for something to replace.
//   - A key file has mode 0600, is made whole or not at all, and is never overwritten.
//
// A [Key] may be used concurrently.
package sealed
