// Package secret seals the values that operators store for workflows, so that neither
// the database nor a backup of it holds one in clear.
//
//	value ──Seal(Place)──▶ Sealed{key id, ciphertext} ──▶ store ──▶ Open(Place) ──▶ value
//	            ▲ the first key of the ring                             ▲ the key that it names
//
// A value is sealed with AES-256-GCM and a random nonce, bound to its [Place]: a
// ciphertext that is moved to another organisation, name or version does not open.
//
// The keys are a ring: the first seals, all open. They come from a file that is made
// at the first start (mode 0600, one key a line), or from what a command prints. A
// file that somebody replaced is read again before the next use, so that several
// servers can share one.
//
// # Rotation
//
//	Renew: a new key before the others, durable ─▶ the caller seals everything again ─▶ Retire: keys that nothing names
//
// After a crash at any point every ciphertext still has its key in the file.
//
// A [Vault] may be used concurrently. It reads the file's time of change on each use
// and runs the command only when it is opened and renewed.
package secret
