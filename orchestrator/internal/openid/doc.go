// Package openid lets users log in with an OpenID provider: the authorisation code flow of
// OpenID Connect with PKCE, over go-oidc.
//
// It owns the exchange with the provider, and refuses to decide who may: the subject that the
// provider vouches for is looked up among the users of the organisation, and who is none of
// them is let in by no provider.
//
//	/oidc/login ──303──▶ provider (state, nonce, S256 challenge) ──▶ /oidc/callback?code&state
//	     └─ cookie {state, nonce, verifier, organisation, next} ───────┘   ID token ─▶ subject ─▶ session
//
// # Invariants
//
//   - What comes back counts only in the browser that was sent (the cookie has its state), once
//     (the provider takes a code once), and for this login (the nonce in the signed token).
//   - The ID token is signed with a key of the provider by an asymmetric algorithm that it names,
//     for this client, and has not ended.
//   - The provider is asked for its addresses and keys at the first login, and not at the start:
//     a server starts without it, and passwords and tokens go on.
//
// # Concurrency
//
// A [Provider] may be used by any number of goroutines.
package openid
