package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/stavily/agents/shared/pkg/api"
)

// Cost of a password: the first choice of OWASP's list for argon2id. One takes 20 ms of
// a core of 2024 and 19 MiB.
const (
	memoryKiB = 19 << 10
	passes    = 2
	threads   = 1
	saltBytes = 16
	keyBytes  = 32

	// hashesAtATime bounds the memory that logins take together.
	hashesAtATime = 4
)

// Lengths of a password (NIST SP 800-63B-4, 3.1.1.2, asks for 15 where nothing else is
// asked for, and at least 8).
const (
	minPassword = 12
	maxPassword = 256 // bytes
)

// checkPassword says why a password cannot be chosen.
func checkPassword(name, password string) error {
	switch {
	case !utf8.ValidString(password) || len(password) > maxPassword:
		return api.Errorf(api.CodeInvalid, "A password is text of at most %d bytes.", maxPassword)
	case utf8.RuneCountInString(password) < minPassword:
		return api.Errorf(api.CodeInvalid, "A password has at least %d characters; several words make a good one.", minPassword)
	case strings.Contains(strings.ToLower(password), name) && len(password) < len(name)+minPassword/2:
		return api.Errorf(api.CodeInvalid, "The password is little more than the name; choose another.")
	case strings.Trim(password, password[:1]) == "":
		return api.Errorf(api.CodeInvalid, "The password is one character over and over; choose another.")
	}
	return nil
}

// hasher hashes passwords, a few at a time.
type hasher struct {
	turns chan struct{}
	decoy string // what a name that is not there is compared with
}

func newHasher() *hasher {
	h := &hasher{turns: make(chan struct{}, hashesAtATime)}
	h.decoy = encodePassword(rand.Text(), []byte(rand.Text())[:saltBytes])
	return h
}

// turn runs f when there is room for another.
func (h *hasher) turn(ctx context.Context, f func()) error {
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.turns }()
	f()
	return nil
}

// hash makes what is kept of a password.
func (h *hasher) hash(ctx context.Context, password string) (kept string, err error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	err = h.turn(ctx, func() { kept = encodePassword(password, salt) })
	return kept, err
}

// matches compares a password with what was kept. Where nothing was kept it takes as long
// and says no.
func (h *hasher) matches(ctx context.Context, kept, password string) (same bool, err error) {
	known := kept != ""
	if !known {
		kept = h.decoy
	}
	if len(password) > maxPassword {
		password, known = "", false
	}
	p, err := decodePassword(kept)
	if err != nil {
		return false, err
	}
	err = h.turn(ctx, func() {
		sum := argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.threads, uint32(len(p.key)))
		same = subtle.ConstantTimeCompare(sum, p.key) == 1
	})
	return same && known, err
}

// phc is a password in the form of the Password Hashing Competition.
type phc struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

var phcEncoding = base64.RawStdEncoding

func encodePassword(password string, salt []byte) string {
	key := argon2.IDKey([]byte(password), salt, passes, memoryKiB, threads, keyBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, threads, phcEncoding.EncodeToString(salt), phcEncoding.EncodeToString(key))
}

func decodePassword(text string) (p phc, err error) {
	var version int
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return p, fmt.Errorf("password of a user: it is not kept as argon2id")
	}
	if _, err = fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &p.memory, &p.passes, &p.threads); err != nil || version != argon2.Version || p.passes == 0 || p.threads == 0 || p.memory > 1<<20 {
		return p, fmt.Errorf("password of a user: %q is not what argon2id of version %d takes: %w", parts[3], argon2.Version, err)
	}
	if p.salt, err = phcEncoding.DecodeString(parts[4]); err == nil {
		p.key, err = phcEncoding.DecodeString(parts[5])
	}
	if err != nil || len(p.key) == 0 {
		return p, fmt.Errorf("password of a user: %w", err)
	}
	return p, nil
}
