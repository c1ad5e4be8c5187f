package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Bounds of what the doctor finds from here.
const (
	dialLimit = 5 * time.Second
	clockSkew = 5 * time.Second // certificates and leases bear far more; people who compare logs do not
)

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check the server, what it needs and its agents, and say what to do",
		Long: `Check, from here: that the server answers, its version and clock against this program's, and
that its addresses can be reached with the certificates that they should have. By the
server: certificate authority, clock, disk, database, agents that are lost, do not renew
their certificate or complain, and steps that no agent can take.

The exit code is 0 where nothing failed, also with warnings; 1 where something did; 3 where
no server answers.`,
		Example: "  stavily doctor\n  stavily doctor -o json | jq '.[] | select(.status != \"ok\")'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, unreachable := examine(cmd.Context(), o.client(), o.chosen.remote != nil)
			if err := showChecks(cmd, o, checks); err != nil {
				return err
			}
			if unreachable != nil {
				return unreachable
			}
			failed, warned := 0, 0
			for _, c := range checks {
				switch c.Status {
				case operatorapi.CheckFailed:
					failed++
				case operatorapi.CheckWarning:
					warned++
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d checks failed, %d warn", failed, len(checks), warned)
			}
			return nil
		},
	}
}

func showChecks(cmd *cobra.Command, o *options, checks []operatorapi.Check) error {
	if o.structured() {
		return o.print(cmd.OutOrStdout(), checks)
	}
	w := cmd.OutOrStdout()
	for _, c := range checks {
		if _, err := fmt.Fprintf(w, "%-7s  %s: %s\n", c.Status, cell(c.Name), cell(c.Message)); err != nil {
			return err
		}
		if c.Remedy != "" {
			fmt.Fprintf(w, "         → %s\n", cell(c.Remedy))
		}
	}
	return nil
}

// examine makes all checks. unreachable is set when there is no server to ask. What the server
// serves to its own host only, nobody can look at from elsewhere.
func examine(ctx context.Context, client *operatorapi.Client, elsewhere bool) (checks []operatorapi.Check, unreachable error) {
	var h operatorapi.Health
	before := time.Now()
	if err := client.Do(ctx, http.MethodGet, "/api/v1/health", nil, nil, &h); err != nil {
		if errors.Is(err, operatorapi.ErrUnreachable) {
			unreachable = err
		}
		return []operatorapi.Check{{Name: "server", Status: operatorapi.CheckFailed, Message: message(err), Remedy: "Where it should run, see `systemctl status stavily-server` and its log; where it runs elsewhere, use a context: `stavily context --help`."}}, unreachable
	}
	checks = []operatorapi.Check{versions(h), clocks(h, before, time.Now()), port(ctx, "port of agents", h.BaseURL, h.CAFingerprint)}
	if h.WebURL != "" && !(elsewhere && isLoopback(h.WebURL)) {
		checks = append(checks, port(ctx, "port of people", h.WebURL, h.CAFingerprint))
	}
	var own []operatorapi.Check
	if err := client.Do(ctx, http.MethodGet, "/api/v1/doctor", nil, nil, &own); err != nil {
		return append(checks, operatorapi.Check{Name: "server's own checks", Status: operatorapi.CheckFailed, Message: message(err), Remedy: "See the server's log."}), nil
	}
	return append(checks, own...), nil
}

func isLoopback(address string) bool {
	u, err := url.Parse(address)
	return err == nil && net.ParseIP(u.Hostname()).IsLoopback()
}

// message is what people read of an error.
func message(err error) string {
	var refusal *api.Error
	if errors.As(err, &refusal) {
		return refusal.Message
	}
	return err.Error()
}

func versions(h operatorapi.Health) operatorapi.Check {
	if h.Version == api.Version {
		return operatorapi.Check{Name: "server", Status: operatorapi.CheckOK, Message: "answers, version " + h.Version}
	}
	return operatorapi.Check{
		Name: "server", Status: operatorapi.CheckWarning, Message: fmt.Sprintf("answers, version %s; this program is %s", h.Version, api.Version),
		Remedy: "Use the same version, or commands may lack what the server has and the other way round.",
	}
}

// clocks compares the server's clock with the one here, at the time between question and answer.
func clocks(h operatorapi.Health, asked, answered time.Time) operatorapi.Check {
	off := h.ServerTime.Sub(asked.Add(answered.Sub(asked) / 2))
	c := operatorapi.Check{Name: "clock here", Status: operatorapi.CheckOK, Message: fmt.Sprintf("%s from the server's", off.Abs().Round(time.Millisecond))}
	if off.Abs() > clockSkew {
		c.Status, c.Remedy = operatorapi.CheckWarning, "Let both hosts keep their clock by NTP."
	}
	return c
}

// port connects as an agent or a browser would, and looks whose certificate it gets.
func port(ctx context.Context, name, address, fingerprint string) operatorapi.Check {
	c := operatorapi.Check{Name: name, Status: operatorapi.CheckFailed}
	u, err := url.Parse(address)
	if err != nil {
		c.Message = err.Error()
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		c.Message = fmt.Sprintf("%s cannot be reached from here: %v", address, err)
		c.Remedy = "See that the name leads to the server, that it listens there (--listen, --web-listen, --hostname) and that no firewall is between."
		return c
	}
	defer conn.Close()
	pinned, err := pki.PinnedTLS(fingerprint, u.Hostname())
	if err != nil {
		c.Message = err.Error()
		return c
	}
	pinned.MinVersion = tls.VersionTLS12
	if err := tls.Client(conn, pinned).HandshakeContext(ctx); err != nil {
		return otherCertificate(ctx, c, u, err)
	}
	c.Status, c.Message = operatorapi.CheckOK, address+" answers with a certificate of the server's CA"
	return c
}

// otherCertificate judges a listener whose certificate is not of the server's own CA: one that
// browsers trust does as well.
func otherCertificate(ctx context.Context, c operatorapi.Check, u *url.URL, own error) operatorapi.Check {
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err == nil {
		conn.Close()
		c.Status, c.Message = operatorapi.CheckOK, u.String()+" answers with a certificate that this host trusts"
		return c
	}
	c.Message = fmt.Sprintf("%s answers with a wrong certificate: %v", u, own)
	c.Remedy = "Name every name that clients use with --hostname, and let nothing in between end TLS."
	return c
}
