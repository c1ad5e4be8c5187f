package cli

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	envContext = "STAVILY_CONTEXT"

	// local is the context of the data directory's socket, which is always there.
	local = "local"

	maxContexts = 1 << 20 // bytes of the file
)

// remote is one server that is operated over HTTPS.
type remote struct {
	Name          string `json:"name"`
	URL           string `json:"url"`
	Token         string `json:"token"`
	CAPEM         string `json:"ca_pem,omitempty"`
	CAFingerprint string `json:"ca_fingerprint,omitempty"`
}

// contexts are the servers that this user operates. The file is for the user alone: it has
// tokens.
type contexts struct {
	Current string   `json:"current,omitempty"` // empty: local
	Servers []remote `json:"servers"`
}

func (c contexts) find(name string) (remote, bool) {
	n := slices.IndexFunc(c.Servers, func(r remote) bool { return r.Name == name })
	if n < 0 {
		return remote{}, false
	}
	return c.Servers[n], true
}

var errNoHome = errors.New("this user has no directory for it; set HOME or XDG_CONFIG_HOME")

// contextsFile is where they are kept: ~/.config/stavily/contexts.json on Linux.
func contextsFile() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("file of contexts: %w: %w", errNoHome, err)
	}
	return filepath.Join(dir, "stavily", "contexts.json"), nil
}

func loadContexts() (c contexts, err error) {
	path, err := contextsFile()
	if err != nil {
		return c, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil && openToOthers(info) {
		return c, fmt.Errorf("%s has tokens and can be read by others (mode %04o): chmod 600 %s, and revoke the tokens if others may have read them", path, info.Mode().Perm(), path)
	}
	text, err := limits.ReadFile(path, maxContexts)
	if err != nil {
		return c, err
	}
	if err := limits.UnmarshalJSON(text, &c); err != nil {
		return c, fmt.Errorf("%s: %w; correct it, or remove it and add its contexts again", path, err)
	}
	return c, nil
}

func (c contexts) save() error {
	path, err := contextsFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'), 0o600)
}

// tls is how the server is known: by its CA, by the fingerprint of that, or as every public
// server is.
func (r remote) tls() (*tls.Config, error) {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
		return nil, fmt.Errorf("address %q: must be https://HOST:PORT: the token must not go over the network in the clear", r.URL)
	case r.CAFingerprint != "":
		return pki.PinnedTLS(r.CAFingerprint, u.Hostname())
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CAPEM != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(r.CAPEM)) {
			return nil, errors.New("the CA is no certificate in PEM; the server's is ca/ca.crt in its data directory")
		}
	}
	return conf, nil
}

func (r remote) client() *operatorapi.Client {
	conf, err := r.tls()
	if err != nil {
		return operatorapi.Refusing(fmt.Errorf("context %s: %w", r.Name, err))
	}
	return operatorapi.NewRemote(r.URL, r.Token, conf)
}

// contextChoice is the server that a command line means; the zero choice is the local one.
type contextChoice struct {
	remote *remote
	by     string // what named it on the command line or in the environment; "": nothing did
	err    error  // told where a server is needed
}

// choose finds out which server is meant. A data directory that is named is meant; then a
// context that is named; then the one that is in use.
func (o *options) choose(flags *pflag.FlagSet) error {
	named := cmp.Or(o.context, os.Getenv(envContext))
	dir := flags.Changed("data-dir")
	if dir && o.context != "" && o.context != local {
		return usageError{errors.New("--data-dir and --context name two servers; give one")}
	}
	if dir || named == local || named == "" && os.Getenv(envDataDir) != "" {
		return nil
	}
	if o.context != "" {
		o.chosen.by = "--context"
	} else if named != "" {
		o.chosen.by = envContext
	}
	all, err := loadContexts()
	if named == "" && (errors.Is(err, errNoHome) || errors.Is(err, fs.ErrPermission)) {
		return nil // a service's user has no home, and sudo -u leaves the one of somebody else: nothing was chosen
	}
	if err != nil {
		o.chosen.err = err
		return nil
	}
	if named = cmp.Or(named, all.Current); named == "" {
		return nil
	}
	r, ok := all.find(named)
	if !ok {
		o.chosen.err = usageError{fmt.Errorf("there is no context %q; stavily context list shows those there are", named)}
		return nil
	}
	if flags.Changed("org") {
		return usageError{fmt.Errorf("--org: context %s has the organisation of its token; add a context with a token of the other one", named)}
	}
	o.chosen.remote = &r
	return nil
}

func (o *options) client() *operatorapi.Client {
	switch {
	case o.chosen.err != nil:
		return operatorapi.Refusing(o.chosen.err)
	case o.chosen.remote != nil:
		return o.chosen.remote.client()
	}
	return operatorapi.NewClient(filepath.Join(o.dataDir, operatorapi.SocketName), api.OrgID(o.org))
}
