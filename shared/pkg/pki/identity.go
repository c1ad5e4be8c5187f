package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

const scheme = "spiffe"

// isTrustDomain checks the alphabet and length of SPIFFE-ID, section 2.1.
func isTrustDomain(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	})
}

// Identity is who an agent is, by its certificate.
type Identity struct {
	TrustDomain string // of the CA that issued the certificate
	Org         api.OrgID
	Type        api.AgentType
	Agent       api.AgentID
}

// URI returns spiffe://<trust domain>/org/<org>/<sensor|action>/<agent>.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: i.TrustDomain, Path: strings.Join([]string{"", "org", string(i.Org), string(i.Type), string(i.Agent)}, "/")}
}

func (i Identity) String() string { return i.URI().String() }

// Validate reports whether every part may stand in an identity.
func (i Identity) Validate() error {
	if !isTrustDomain(i.TrustDomain) {
		return fmt.Errorf("trust domain %.80q: must be 1 to 255 characters of a-z, 0-9, '.', '_', '-'", i.TrustDomain)
	}
	if err := i.Org.Validate(); err != nil {
		return err
	}
	if err := i.Type.Validate(); err != nil {
		return err
	}
	return i.Agent.Validate()
}

// ParseIdentity reads the identity from the only URI SAN of an agent's
// certificate. It does not verify the certificate's chain: TLS has. The error says
// what is wrong with the certificate, for an agent's log as for an audit record.
func ParseIdentity(cert *x509.Certificate) (Identity, error) {
	if cert.IsCA {
		return Identity{}, fmt.Errorf("certificate of %.80q: is that of a CA, which cannot be an agent; use the certificate that enrolment made", cert.Subject.CommonName)
	}
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("certificate of %.80q: has %d URI names and must have exactly one, the agent's spiffe:// identity (the common name does not count); enrol the agent again", cert.Subject.CommonName, len(cert.URIs))
	}
	id, err := parseURI(cert.URIs[0])
	if err != nil {
		return Identity{}, fmt.Errorf("certificate identity %.300q: %w; enrol the agent again", cert.URIs[0], err)
	}
	return id, nil
}

// ParseURI reads an identity from its text, as [Identity.URI] writes it.
func ParseURI(text string) (Identity, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Identity{}, errors.New("is not a URI")
	}
	return parseURI(u)
}

func parseURI(u *url.URL) (Identity, error) {
	part := strings.Split(u.Path, "/")
	if len(part) != 5 || part[0] != "" || part[1] != "org" {
		return Identity{}, fmt.Errorf("must have the form %s://<trust domain>/org/<organisation>/<sensor|action>/<agent id>", scheme)
	}
	id := Identity{TrustDomain: u.Host, Org: api.OrgID(part[2]), Type: api.AgentType(part[3]), Agent: api.AgentID(part[4])}
	if err := id.Validate(); err != nil {
		return Identity{}, err
	}
	// What is left over (another scheme, user, query, fragment, %-escapes) shows
	// when the identity is written again.
	if want := id.String(); u.String() != want {
		return Identity{}, fmt.Errorf("must be written %s", want)
	}
	return id, nil
}
