package config

import (
	"crypto/tls"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Auth says how this agent proves who it is.
type Auth struct {
	Type     string `yaml:"type"`      // certificate: mutual TLS; jwt: a signed token, for networks that break mutual TLS, against a server that is started with it
	CertFile string `yaml:"cert_file"` // this agent's certificate and its chain, PEM; written by enroll and by renewals
	KeyFile  string `yaml:"key_file"`  // its private key, PEM, which only the agent's user may read; plain or encrypted PKCS#8
	CAFile   string `yaml:"ca_file"`   // the only authorities that the orchestrator may have its certificate from, PEM, one or more

	KeyPassphraseFile    string   `yaml:"key_passphrase_file"`    // its first line encrypts key_file; empty: the key is not encrypted
	KeyPassphraseCommand []string `yaml:"key_passphrase_command"` // instead of the file: program and arguments whose first line of output is the passphrase
	SignerCommand        []string `yaml:"signer_command"`         // instead of key_file: program and arguments that sign, for a key in a hardware module (docs/tls.md)
	PinSHA256            []string `yaml:"pin_sha256"`             // sha256:<hex> of a certificate or key that must be in the orchestrator's chain; empty: what ca_file vouches for is enough
	RenewBefore          Duration `yaml:"renew_before"`           // how long before its end the certificate is renewed; 0: a third of its life, and never more than half

	TokenFile        string   `yaml:"token_file"`        // type jwt: the token; written by refreshes
	RefreshThreshold Duration `yaml:"refresh_threshold"` // type jwt: how long before its end the token is refreshed
}

// The ways to prove it.
const (
	Certificate = "certificate"
	JWT         = "jwt"

	defaultRefreshThreshold = 5 * time.Minute
)

// TLS is the protocol's lower bound.
type TLS struct {
	Enabled      bool     `yaml:"enabled"`       // cannot be false: without TLS anybody on the way could give this agent instructions
	MinVersion   string   `yaml:"min_version"`   // the oldest version that is spoken: 1.3 or 1.2
	CipherSuites []string `yaml:"cipher_suites"` // for TLS 1.2, by their names in RFC 5246; empty: all that are safe. TLS 1.3 has its own, all safe
}

const defaultMinVersion = "1.3"

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Version is MinVersion as crypto/tls numbers it; TLS 1.3 when it is neither.
func (t TLS) Version() uint16 {
	if v, ok := tlsVersions[t.MinVersion]; ok {
		return v
	}
	return tls.VersionTLS13
}

// Suites are CipherSuites as crypto/tls numbers them; nil for its own choice.
func (t TLS) Suites() []uint16 {
	var out []uint16
	for _, suite := range choosable() {
		if slices.Contains(t.CipherSuites, suite.Name) {
			out = append(out, suite.ID)
		}
	}
	return out
}

// choosable are the suites of TLS 1.2 without a known weakness.
func choosable() []*tls.CipherSuite {
	return slices.DeleteFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool {
		return !slices.Contains(s.SupportedVersions, tls.VersionTLS12)
	})
}

func (t *TLS) check(ps *problems) {
	if !t.Enabled {
		ps.add("security.tls.enabled", "false: must be true: the agent's identity is part of TLS, and without it anybody on the way could give it instructions; for a trial without certificates to manage use `stavily dev`")
	}
	_, known := tlsVersions[t.MinVersion]
	ps.require(known, "security.tls.min_version", t.MinVersion, "1.3 or 1.2")
	var names []string
	for _, s := range choosable() {
		names = append(names, s.Name)
	}
	for _, name := range t.CipherSuites {
		ps.require(slices.Contains(names, name), "security.tls.cipher_suites", name, "one of %s (weak ones are not offered, and those of TLS 1.3 cannot be chosen)", strings.Join(names, ", "))
	}
}

// warnings are what is allowed and does not do what one may think.
func (t *TLS) warnings() []string {
	if len(t.CipherSuites) > 0 && t.Version() == tls.VersionTLS13 {
		return []string{"security.tls.cipher_suites has no effect with security.tls.min_version 1.3: the cipher suites of TLS 1.3 cannot be chosen and are all safe; remove the list, or set min_version to 1.2"}
	}
	return nil
}

// pin has the two forms that pki.ParsePin reads.
var pin = regexp.MustCompile(`^(sha256:[0-9a-fA-F]{64}|sha256//[A-Za-z0-9+/]{43}=)$`)

func (a *Auth) check(ps *problems) {
	ps.requireOneOf("api.auth.type", a.Type, Certificate, JWT)
	ps.require(a.RenewBefore >= 0, "api.auth.renew_before", a.RenewBefore, "0 (a third of the certificate's life) or more")
	ps.requireInterval("api.auth.refresh_threshold", a.RefreshThreshold)
	if a.KeyPassphraseFile != "" && len(a.KeyPassphraseCommand) > 0 {
		ps.add("api.auth.key_passphrase_command", "api.auth.key_passphrase_file is set as well: keep one of them")
	}
	if len(a.SignerCommand) > 0 && (a.KeyPassphraseFile != "" || len(a.KeyPassphraseCommand) > 0) {
		ps.add("api.auth.signer_command", "a passphrase is set as well, and there is no key file to decrypt: remove api.auth.key_passphrase_file and key_passphrase_command")
	}
	for key, command := range map[string][]string{"api.auth.signer_command": a.SignerCommand, "api.auth.key_passphrase_command": a.KeyPassphraseCommand} {
		if len(command) > 0 {
			ps.require(command[0] != "", key, command[0], "a program and its arguments")
		}
	}
	for _, p := range a.PinSHA256 {
		ps.require(pin.MatchString(p), "api.auth.pin_sha256", p, "sha256: and 64 hexadecimal digits, the fingerprint that `stavily tokens create` prints, or sha256// and the base64 of a public key's SHA-256")
	}
}
