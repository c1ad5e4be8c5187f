package servertest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// Password is the one of every user that Browser makes.
const Password = "correct horse battery"

// maxAnswer bounds an answer that a test reads.
const maxAnswer = 16 << 20

// Browser is somebody at the web listener, with the cookies of a browser.
type Browser struct {
	*http.Client
	URL string

	Token   string // API token to come with, instead of the cookie
	Planted string // value of the session's cookie, whatever the server gave

	s *Server
}

// WebURL is where people connect.
func (s *Server) WebURL() string {
	s.t.Helper()
	var h operatorapi.Health
	s.Do(http.MethodGet, "/api/v1/health", nil, &h)
	return h.WebURL
}

// Stranger is a browser that nobody has logged in with.
func (s *Server) Stranger() *Browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := s.HTTP(nil)
	client.Jar = jar
	s.t.Cleanup(client.CloseIdleConnections)
	return &Browser{Client: client, URL: s.WebURL(), s: s}
}

// Browser adds a user of a role, who chooses a password with a link, and is logged in.
func (s *Server) Browser(name string, role account.Role, groups ...string) *Browser {
	s.t.Helper()
	s.Do(http.MethodPost, "/api/v1/users", operatorapi.UserRequest{Name: name, Role: string(role), Groups: groups}, nil)
	b := s.Stranger()
	if status, e := b.Do("POST", "/api/v1/session/accept", operatorapi.AcceptRequest{Link: s.Invite(name), Password: Password}, nil); e != nil {
		s.t.Fatalf("accept the link of %s: %d %v", name, status, e)
	}
	return b
}

// Invite makes a link for a user and returns its secret.
func (s *Server) Invite(name string) string {
	s.t.Helper()
	var link operatorapi.Invitation
	s.Do(http.MethodPost, "/api/v1/users/"+name+"/invitation", nil, &link)
	u, err := url.Parse(link.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	return u.Query().Get("link")
}

// Login logs a user of Browser in with the password.
func (b *Browser) Login(org api.OrgID, name string) (int, *api.Error) {
	b.s.t.Helper()
	return b.Do("POST", "/api/v1/session", operatorapi.LoginRequest{Org: org, User: name, Password: Password}, nil)
}

// Do makes a call as a page of the server itself would, and returns its status and error.
// header has names and values in turn.
func (b *Browser) Do(method, path string, in, out any, header ...string) (int, *api.Error) {
	b.s.t.Helper()
	var body io.Reader = http.NoBody
	switch in := in.(type) {
	case nil:
	case string:
		body = strings.NewReader(in)
	default:
		text, err := json.Marshal(in)
		if err != nil {
			b.s.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.s.t.Context(), method, b.URL+path, body)
	if err != nil {
		b.s.t.Fatal(err)
	}
	b.sign(req)
	for n := 0; n < len(header); n += 2 {
		req.Header.Set(header[n], header[n+1])
		if header[n] == "Host" {
			req.Host = header[n+1]
		}
	}
	resp, err := b.Client.Do(req)
	if err != nil {
		b.s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, maxAnswer)
	if err != nil {
		b.s.t.Fatal(err)
	}
	if resp.StatusCode < 300 {
		if out != nil {
			if err := json.Unmarshal(text, out); err != nil {
				b.s.t.Fatalf("%s %s: %v in %q", method, path, err, text)
			}
		}
		return resp.StatusCode, nil
	}
	var e api.ErrorBody
	if err := json.Unmarshal(text, &e); err != nil || e.Error == nil {
		return resp.StatusCode, api.Errorf("", "%s", text)
	}
	return resp.StatusCode, e.Error
}

// Send makes a call as a page of the server itself would.
func (b *Browser) Send(req *http.Request) (*http.Response, error) {
	b.sign(req)
	return b.Client.Do(req)
}

func (b *Browser) sign(req *http.Request) {
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if b.Token != "" {
		req.Header.Set("Authorization", "Bearer "+b.Token)
	}
	if b.Planted != "" {
		req.Header.Set("Cookie", "__Host-stavily="+b.Planted)
	}
}

// Cookie is the session that the browser has, or "".
func (b *Browser) Cookie() string {
	b.s.t.Helper()
	u, err := url.Parse(b.URL)
	if err != nil {
		b.s.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		return c.Value
	}
	return ""
}
