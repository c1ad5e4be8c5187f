package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
)

// enrollment is what `enroll` needs besides the configuration.
type enrollment struct {
	token       string
	fingerprint string
	keyType     pki.KeyType
	posture     *api.Posture // nil: not known
}

// pendingKey keeps the key between the first request and a stored certificate. A
// token is bound to the key that first used it, so a lost reply is repeated with
// the same key and gets the same certificate.
const pendingKey = "client.key.pending"

// maxKeyFile is far above any PEM key: RSA-4096 takes 3.3 KiB.
const maxKeyFile = 64 << 10

// enroll makes a key, asks for a certificate with a one-time token, stores both
// and, where there is no configuration file yet, writes one that starts this agent.
//
// It does not take the lock of the base directory: an agent that waits there for its
// certificate has that, and notices what is stored.
func enroll(ctx context.Context, loaded *config.Loaded, role Role, e enrollment, out io.Writer) (err error) {
	cfg := &loaded.Config
	if cfg.API.Auth.Type == config.JWT {
		return fmt.Errorf("%w: api.auth.type is jwt, and such an agent is not enrolled: save what `stavily tokens create --jwt` prints in %s, or set the type to certificate", errUsage, cfg.API.Auth.TokenFile)
	}
	if err := makeBase(cfg.Agent.BaseDir); err != nil {
		return err
	}
	release, err := lockCredentials(cfg.Agent.BaseDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	files := credentialFiles(cfg.API.Auth)
	pending := filepath.Join(filepath.Dir(files.Key), pendingKey)
	key, err := keyToEnroll(pending, files, e.keyType)
	if err != nil {
		return err
	}
	// Without it the agent is enrolled all the same, and its first heartbeat tells.
	if e.posture, err = lookAtSandbox(ctx, cfg.Security.Sandbox); err != nil {
		fmt.Fprintf(out, "how plugins are confined here cannot be told yet: %v\n", err)
	}
	answer, err := requestCertificate(ctx, cfg, role, e, key)
	if err != nil {
		return fmt.Errorf("enrol %s at %s: %w", cfg.Agent.ID, cfg.API.BaseURL, err)
	}
	if err := checkIssued(cfg, role, answer); err != nil {
		return fmt.Errorf("enrol %s at %s: nothing is stored: %w", cfg.Agent.ID, cfg.API.BaseURL, err)
	}
	if err := pki.SaveCredentials(files, key, []byte(answer.CertificatePEM), []byte(answer.CAPEM)); err != nil {
		return err
	}
	configFile := loaded.File
	if configFile == "" {
		if configFile, err = firstConfig(cfg, role, answer.OrganizationID); err != nil {
			return err
		}
	}
	// Last: as long as it is there, the same command can be repeated.
	if err := os.Remove(pending); err != nil && files.External == nil {
		return fmt.Errorf("remove the pending key: %w", err)
	}
	fmt.Fprintf(out, "enrolled %s agent %s in organisation %s\n  base directory  %s\n  certificate     %s\n  configuration   %s\nstart it with:\n  %s --config %s\n",
		role.Type, answer.AgentID, answer.OrganizationID, cfg.Agent.BaseDir, files.Cert, configFile, role.Program, configFile)
	return nil
}

// lockCredentials lets one process at a time store credentials: an enrolment, or the
// renewal of an agent that runs.
func lockCredentials(base string) (release func() error, err error) {
	return lockfile.Lock(filepath.Join(base, stateDir, "enroll.lock"))
}

// keyToEnroll is the pending key, a new one that is kept as such, or that of a signer.
func keyToEnroll(pending string, files pki.Files, kind pki.KeyType) (crypto.Signer, error) {
	if files.External != nil {
		return files.External.Key()
	}
	pem, err := limits.ReadFile(pending, maxKeyFile)
	if err == nil {
		return pki.ParseKeyWith(pem, files.Passphrase)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the pending key: %w", err)
	}
	key, err := pki.GenerateKeyOf(kind)
	if err != nil {
		return nil, err
	}
	if pem, err = pki.EncodeKeyWith(key, files.Passphrase); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(pending), dirMode); err != nil {
		return nil, fmt.Errorf("make the certificates directory: %w", err)
	}
	return key, atomicfile.Write(pending, pem, 0o600)
}

func requestCertificate(ctx context.Context, cfg *config.Config, role Role, e enrollment, key crypto.Signer) (api.EnrollResponse, error) {
	server, err := url.Parse(cfg.API.BaseURL)
	if err != nil {
		return api.EnrollResponse{}, err
	}
	tlsConfig, err := pki.PinnedTLS(e.fingerprint, server.Hostname())
	if err != nil {
		return api.EnrollResponse{}, err
	}
	client, err := api.NewClient(api.ClientOptions{
		BaseURL: cfg.API.BaseURL, TLS: tlsConfig, Agent: cfg.Agent.ID,
		Timeout: cfg.API.Timeout.Duration(), UserAgent: userAgent(role),
	})
	if err != nil {
		return api.EnrollResponse{}, err
	}
	defer client.CloseIdle()
	csr, err := pki.NewCSR(key, cfg.Agent.ID)
	if err != nil {
		return api.EnrollResponse{}, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return api.EnrollResponse{}, fmt.Errorf("ask for this host's name: %w", err)
	}
	request := api.EnrollRequest{
		AgentID: cfg.Agent.ID, AgentType: role.Type, Name: cfg.Agent.Name, CSRPEM: string(csr),
		Version: api.Version, Hostname: hostname, Tags: cfg.Agent.Tags, Sandbox: e.posture,
	}
	return enrollPatiently(ctx, client, cfg.API.Retry, e.token, request)
}

// checkIssued refuses a certificate that this agent would not start with.
func checkIssued(cfg *config.Config, role Role, answer api.EnrollResponse) error {
	certs, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		return err
	}
	is, err := pki.ParseIdentity(certs[0])
	if err != nil {
		return err
	}
	return checkIdentity(is, cfg.Agent.ID, role.Type, cfg.Agent.OrganizationID)
}

// enrollPatiently repeats a request without an answer as often as api.retry says: often
// enough for a server that restarts, and a person is not kept waiting.
func enrollPatiently(ctx context.Context, client *api.Client, retry config.Retry, token string, request api.EnrollRequest) (api.EnrollResponse, error) {
	backoff := api.Backoff{Initial: retry.InitialInterval.Duration(), Max: retry.MaxInterval.Duration()}
	for attempt := 1; ; attempt++ {
		answer, err := client.Enroll(ctx, token, request)
		if err == nil || attempt >= retry.MaxAttempts || !mayPass(err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, errors.Join(err, ctx.Err())
		case <-time.After(backoff.Next(api.RetryAfter(err))):
		}
	}
}

// mayPass reports whether the same request may succeed while a person waits. A server
// with a certificate of another authority does not turn into the right one.
func mayPass(err error) bool {
	var u *api.UnreachableError
	return api.Retryable(err) && (!errors.As(err, &u) || u.Kind != api.KindCertificate)
}

// firstConfig writes the smallest configuration that starts this agent, unless
// there is one already; it returns its path.
func firstConfig(cfg *config.Config, role Role, org api.OrgID) (string, error) {
	path := filepath.Join(cfg.Agent.BaseDir, "config", "agent.yaml")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return path, atomicfile.Write(path, smallestConfig(cfg, role, org), 0o600)
}

func smallestConfig(cfg *config.Config, role Role, org api.OrgID) []byte {
	return fmt.Appendf(nil, "# `%s config show` prints every value in force.\nagent:\n  id: %q\n  name: %q\n  type: %q\n  organization_id: %q\n  base_dir: %q\napi:\n  base_url: %q\n",
		role.Program, cfg.Agent.ID, cfg.Agent.Name, role.Type, org, cfg.Agent.BaseDir, cfg.API.BaseURL)
}

func userAgent(role Role) string { return role.Program + "/" + api.Version }
