package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Files that scripts of the original README download with a token.
const (
	fileCert   = "client.crt"
	fileKey    = "client.key"
	fileCA     = "ca.crt"
	fileBundle = "bundle.tar.gz" // all that the token may have
)

// keyStash keeps private keys that the server made for a download, in memory only, from
// the first download of a token to the one of the key.
type keyStash struct {
	mu   sync.Mutex // guards keys
	keys map[string]stashed
}

type stashed struct {
	pem   []byte
	until time.Time
}

func (s *keyStash) put(token string, pem []byte, now, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[string]stashed{}
	}
	for hash, k := range s.keys {
		if now.After(k.until) {
			delete(s.keys, hash)
		}
	}
	s.keys[token] = stashed{pem, until}
}

// take gives a key away once.
func (s *keyStash) take(token string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[token]
	delete(s.keys, token)
	return k.pem
}

// Download gives one of the files that a token may have, each once. The key is the
// agent's business by default: it enrols, and may then fetch its certificate. Where the
// server is told to give keys away, the first download enrols the agent that the token
// was made for with a key that the server makes.
func (e *Engine) Download(ctx context.Context, token, file string) ([]byte, error) {
	org, err := e.findToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{fileCert, fileKey, fileCA, fileBundle}, file) {
		return nil, api.Errorf(api.CodeNotFound, "There is no %.40q to download: there are client.crt, client.key, ca.crt and bundle.tar.gz.", file)
	}
	if file == fileKey && !e.keyDownload {
		return nil, api.Errorf(api.CodeForbidden, "Private keys are made on the agent and not given away: enrol it with `<type>-agent enroll`, or start the server with --allow-key-download.")
	}
	hash := tokenHash(token)
	var certificate string
	err = e.update(ctx, org, func(t *tx) (err error) {
		certificate, err = t.download(hash, file)
		return err
	})
	if err != nil {
		return nil, err
	}
	switch file {
	case fileCA:
		return []byte(e.ca.PEM()), nil
	case fileCert:
		return []byte(certificate), nil
	}
	key := e.stash.take(hash)
	if key == nil && e.keyDownload {
		return nil, api.Errorf(api.CodeGone, "The key was downloaded already, or lost when the server was restarted; make another token.")
	}
	if file == fileKey {
		return key, nil
	}
	return bundleOf(e.now(), []byte(e.ca.PEM()), []byte(certificate), key)
}

// download marks the file as taken and returns the certificate of the token's agent.
func (t *tx) download(hash, file string) (string, error) {
	token, err := t.Token(hash)
	if err != nil {
		return "", err
	}
	switch {
	case t.now.After(token.ExpiresAt):
		return "", badToken("expired at " + token.ExpiresAt.UTC().Format(time.RFC3339))
	case slices.Contains(token.Downloaded, file):
		return "", badToken("has had " + file + " already")
	}
	certificate := ""
	if file != fileCA {
		if token, certificate, err = t.certificateOf(token); err != nil {
			return "", err
		}
	}
	token.Downloaded = append(token.Downloaded, file)
	return certificate, errors.Join(t.PutToken(token), t.audit("token "+hash[:12], "certificate.download", file, string(token.UsedBy)))
}

// certificateOf is the certificate of the agent that used the token, or that it was made
// for.
func (t *tx) certificateOf(token store.Token) (store.Token, string, error) {
	if !token.UsedAt.IsZero() {
		a, err := t.Agent(token.UsedBy)
		switch {
		case err != nil:
			return token, "", err
		case a.State == store.Revoked:
			return token, "", revoked(a)
		case a.KeyHash != token.KeyHash:
			return token, "", badToken("was used, and agent " + string(token.UsedBy) + " has another key by now")
		}
		return token, a.CertificatePEM, nil
	}
	if !t.engine.keyDownload {
		return token, "", api.Errorf(api.CodeConflict, "No agent has used this token yet, so there is no certificate: enrol it with `%s-agent enroll`, which makes the key on its host.", token.Type)
	}
	if token.AgentID == "" {
		return token, "", api.Errorf(api.CodeInvalid, "This token is for any agent and the download names none; make one with --agent-id.")
	}
	a, err := t.applicationFor(token)
	if err != nil {
		return token, "", err
	}
	certificate, err := t.enroll(a)
	if err != nil {
		return token, "", err
	}
	token, err = t.Token(token.Hash) // as the enrolment left it
	return token, certificate, err
}

// applicationFor is what the agent would send, with a key that is kept for download.
func (t *tx) applicationFor(token store.Token) (application, error) {
	var key crypto.Signer
	key, err := pki.GenerateKey()
	if err != nil {
		return application{}, err
	}
	csr, err := pki.NewCSR(key, token.AgentID)
	if err != nil {
		return application{}, err
	}
	text, err := pki.EncodeKey(key)
	if err != nil {
		return application{}, err
	}
	request, keyHash, err := parseCSR(string(csr))
	if err != nil {
		return application{}, err
	}
	t.engine.stash.put(token.Hash, text, t.now, token.ExpiresAt)
	return application{api.EnrollRequest{AgentID: token.AgentID, AgentType: token.Type, Name: string(token.AgentID)}, request, keyHash, token.Hash}, nil
}

// bundleOf packs the files as a script unpacks them into the certificates directory.
func bundleOf(now time.Time, ca, certificate, key []byte) ([]byte, error) {
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for _, f := range []struct {
		name string
		mode int64
		text []byte
	}{{fileCA, 0o644, ca}, {fileCert, 0o644, certificate}, {fileKey, 0o600, key}} {
		if f.text == nil {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.text)), ModTime: now, Format: tar.FormatUSTAR}); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
	}
	if err := errors.Join(w.Close(), packed.Close()); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return out.Bytes(), nil
}
