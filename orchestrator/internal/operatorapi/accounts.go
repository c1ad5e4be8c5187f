package operatorapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Session is who calls, and with what.
type Session struct {
	Kind      string   `json:"kind"` // operator (the socket), user or api_token
	Org       string   `json:"org"`
	User      string   `json:"user,omitempty"`
	Role      string   `json:"role"`
	Token     string   `json:"token,omitempty"` // name of the API token
	ExpiresAt api.Time `json:"expires_at,omitzero"`
}

// LoginRequest begins a session.
type LoginRequest struct {
	Org      api.OrgID `json:"org,omitempty"` // by default "default"
	User     string    `json:"user"`
	Password string    `json:"password"`
}

// AcceptRequest uses a one-time link up.
type AcceptRequest struct {
	Link     string `json:"link"` // the secret of the link
	Password string `json:"password"`
}

// PasswordRequest sets another password.
type PasswordRequest struct {
	Password string `json:"password"` // of now
	Next     string `json:"next"`
}

// User is somebody who may operate the organisation.
type User struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Groups    []string `json:"groups,omitempty"`
	Subject   string   `json:"subject,omitempty"` // at an OpenID provider
	Disabled  bool     `json:"disabled,omitempty"`
	Password  bool     `json:"password"` // has one
	CreatedAt api.Time `json:"created_at"`
	CreatedBy string   `json:"created_by"`
	LoginAt   api.Time `json:"login_at,omitzero"`
}

// UserRequest adds or changes a user. What it does not say is emptied.
type UserRequest struct {
	Name     string   `json:"name,omitempty"` // of a new one
	Role     string   `json:"role"`
	Groups   []string `json:"groups,omitempty"`
	Subject  string   `json:"subject,omitempty"`
	Disabled bool     `json:"disabled,omitempty"`
}

// Invitation is a one-time link to choose a password. It is shown only now.
type Invitation struct {
	User      string   `json:"user"`
	URL       string   `json:"url"`
	ExpiresAt api.Time `json:"expires_at"`
}

// APITokenRequest makes an API token.
type APITokenRequest struct {
	User       string   `json:"user,omitempty"` // by default who asks
	Name       string   `json:"name"`
	Role       string   `json:"role,omitempty"`  // by default viewer
	Areas      []string `json:"areas,omitempty"` // first parts of paths after /api/v1; none: all
	TTLSeconds int64    `json:"ttl_seconds,omitempty"`
	Note       string   `json:"note,omitempty"`
}

// APIToken is one that was made, without its secret.
type APIToken struct {
	ID        string   `json:"id"`
	User      string   `json:"user"`
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Areas     []string `json:"areas,omitempty"`
	Note      string   `json:"note,omitempty"`
	CreatedAt api.Time `json:"created_at"`
	CreatedBy string   `json:"created_by"`
	ExpiresAt api.Time `json:"expires_at"`
	UsedAt    api.Time `json:"used_at,omitzero"`
	Address   string   `json:"address,omitempty"` // it was used from last
}

// NewAPIToken is one with its secret, which is shown only now.
type NewAPIToken struct {
	Secret string   `json:"secret"`
	Token  APIToken `json:"token"`
}

func viewUser(u store.User) User {
	return User{
		Name: u.Name, Role: u.Role, Groups: u.Groups, Subject: u.Subject, Disabled: u.Disabled, Password: u.Password != "",
		CreatedAt: api.At(u.CreatedAt), CreatedBy: u.CreatedBy, LoginAt: maybe(u.LoginAt),
	}
}

func viewAPIToken(c store.Credential) APIToken {
	return APIToken{
		ID: account.TokenID(c), User: c.User, Name: c.Name, Role: c.Role, Areas: c.Areas, Note: c.Note,
		CreatedAt: api.At(c.CreatedAt), CreatedBy: c.CreatedBy, ExpiresAt: api.At(c.ExpiresAt), UsedAt: maybe(c.UsedAt), Address: c.Address,
	}
}

// maybe is a time, or none.
func maybe(t time.Time) api.Time {
	if t.IsZero() {
		return api.Time{}
	}
	return api.At(t)
}

// accountHandlers are those of users and tokens.
func (o operators) accountHandlers() map[route.ID]route.Handler {
	return map[route.ID]route.Handler{
		route.SessionShow:    o.sessionShow,
		route.UserList:       o.userList,
		route.UserAdd:        o.userAdd,
		route.UserChange:     o.userChange,
		route.UserRemove:     o.userRemove,
		route.UserInvite:     o.userInvite,
		route.APITokenCreate: o.apiTokenCreate,
		route.APITokenList:   o.apiTokenList,
		route.APITokenRevoke: o.apiTokenRevoke,
	}
}

// sessionHandlers are those that only the web has.
func (o operators) sessionHandlers() map[route.ID]route.Handler {
	return map[route.ID]route.Handler{
		route.SessionBegin:    o.sessionBegin,
		route.SessionAccept:   o.sessionAccept,
		route.SessionEnd:      o.sessionEnd,
		route.SessionPassword: o.sessionPassword,
		route.WebhookTake:     o.webhook,
	}
}

func (o operators) sessionShow(_ context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	p := c.Principal
	return Session{Kind: string(p.Kind), Org: string(id), User: p.Name, Role: string(p.Role), Token: p.Token}, err
}

func (o operators) sessionBegin(ctx context.Context, c *route.Call) (any, error) {
	r := LoginRequest{Org: route.DefaultOrg}
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	return began(o.server.Accounts.Login(ctx, account.Attempt{Org: r.Org, Name: r.User, Password: r.Password, Address: c.Address(), Session: c.Session}))
}

func (o operators) sessionAccept(ctx context.Context, c *route.Call) (any, error) {
	var r AcceptRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	return began(o.server.Accounts.Accept(ctx, r.Link, account.Attempt{Password: r.Password, Address: c.Address(), Session: c.Session}))
}

func (o operators) sessionPassword(ctx context.Context, c *route.Call) (any, error) {
	var r PasswordRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	p := c.Principal
	return began(o.server.Accounts.ChangePassword(ctx, account.Attempt{Org: p.Org, Name: p.Name, Password: r.Password, Address: c.Address(), Session: c.Session}, r.Next))
}

func (o operators) sessionEnd(ctx context.Context, c *route.Call) (any, error) {
	err := o.server.Accounts.Logout(ctx, c.Session)
	return &route.Document{Status: http.StatusNoContent, Cookies: []*http.Cookie{route.NoSession()}}, err
}

// began answers with a session that has begun, which the browser shows from now on.
func began(s account.Session, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(Session{Kind: string(route.User), Org: string(s.Org), User: s.User, Role: string(s.Role), ExpiresAt: api.At(s.ExpiresAt)})
	return &route.Document{Type: "application/json", Cookies: []*http.Cookie{route.SessionCookie(s)}, Body: append(body, '\n')}, err
}

func (o operators) userList(ctx context.Context, c *route.Call) (any, error) {
	return list(ctx, o, c, store.Reader.Users, viewUser)
}

func (r UserRequest) spec(c *route.Call) account.UserSpec {
	return account.UserSpec{
		Role: account.Role(r.Role), Groups: r.Groups, Subject: r.Subject, Disabled: r.Disabled, KeepSubject: c.Principal.Kind == route.APIToken,
	}
}

func (o operators) userAdd(ctx context.Context, c *route.Call) (any, error) {
	var r UserRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	u, err := o.server.Accounts.AddUser(ctx, id, r.Name, r.spec(c))
	return viewUser(u), err
}

func (o operators) userChange(ctx context.Context, c *route.Call) (any, error) {
	var r UserRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	if r.Name != "" && r.Name != c.PathValue("id") {
		return nil, api.Errorf(api.CodeInvalid, "The body names %.80q and the path %.80q; a user keeps its name.", r.Name, c.PathValue("id"))
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	u, err := o.server.Accounts.ChangeUser(ctx, id, c.PathValue("id"), r.spec(c))
	return viewUser(u), missing(c, err)
}

func (o operators) userRemove(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.server.Accounts.RemoveUser(ctx, id, c.PathValue("id")))
}

// userInvite makes no link for a token, also not for a user that the token has just added: it
// could make that one an admin, with all areas and without its end.
func (o operators) userInvite(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	if c.Principal.Kind == route.APIToken {
		return nil, api.Errorf(api.CodeForbidden, "A token makes no link, which would be a login without the token's limits; log in to the dashboard to make one, or use `stavily users invite %s` on the server's host.", c.PathValue("id"))
	}
	if o.server.WebURL == "" {
		return nil, api.Errorf(api.CodeConflict, "This server has no web listener, so a link would lead nowhere; start it with --web-listen.")
	}
	secret, err := o.server.Accounts.Invite(ctx, id, c.PathValue("id"))
	if err != nil {
		return nil, missing(c, err)
	}
	return Invitation{User: c.PathValue("id"), URL: LinkURL(o.server.WebURL, secret), ExpiresAt: api.At(time.Now().Add(account.InvitationLife))}, nil
}

// LinkURL is what a person opens to choose a password.
func LinkURL(web, secret string) string { return web + "/welcome?link=" + secret }

// everybodys says that somebody may see to the tokens of all users, not only to their own.
func everybodys(c *route.Call) bool { return c.Principal.Role.Includes(account.Admin) }

// whoseTokens is the organisation and the user whose tokens a caller sees to: no user is all of them.
func whoseTokens(c *route.Call) (id api.OrgID, user string, err error) {
	if id, err = org(c); err != nil || everybodys(c) {
		return id, "", err
	}
	return id, c.Principal.Name, nil
}

func (o operators) apiTokenCreate(ctx context.Context, c *route.Call) (any, error) {
	r := APITokenRequest{Role: string(account.Viewer)}
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	if c.Principal.Kind == route.APIToken {
		return nil, api.Errorf(api.CodeForbidden, "A token makes no other, or it would never end; log in to make one.")
	}
	me := c.Principal.Name
	if r.User == "" {
		r.User = me
	}
	switch {
	case r.User == "":
		return nil, api.Errorf(api.CodeInvalid, "Say whose token it is to be: user is empty.")
	case r.User != me && !everybodys(c):
		return nil, api.Errorf(api.CodeForbidden, "Only an admin makes tokens of other users.")
	}
	if err := route.CheckAreas(r.Areas); err != nil {
		return nil, err
	}
	text, token, err := o.server.Accounts.CreateToken(ctx, id, r.User, account.TokenSpec{
		Name: r.Name, Role: account.Role(r.Role), Areas: r.Areas, TTL: time.Duration(r.TTLSeconds) * time.Second, Note: r.Note,
	})
	if err != nil {
		return nil, missing(c, err)
	}
	return NewAPIToken{Secret: text, Token: viewAPIToken(token)}, nil
}

func (o operators) apiTokenList(ctx context.Context, c *route.Call) (any, error) {
	id, user, err := whoseTokens(c)
	if err != nil {
		return nil, err
	}
	tokens, err := o.server.Accounts.Tokens(ctx, id, user)
	views := []APIToken{}
	for _, t := range tokens {
		views = append(views, viewAPIToken(t))
	}
	return views, err
}

func (o operators) apiTokenRevoke(ctx context.Context, c *route.Call) (any, error) {
	id, user, err := whoseTokens(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.server.Accounts.RevokeToken(ctx, id, user, c.PathValue("id")))
}

// person is who does something that is put down to a name. On the socket it is whom the
// caller says; a user is nobody else.
func person(c *route.Call, said string) (string, error) {
	p := c.Principal
	if p.Kind == route.LocalOperator {
		return said, nil
	}
	if said != "" && said != p.Name {
		return "", api.Errorf(api.CodeForbidden, "You are logged in as %s, and by says %.80q; leave it out.", p.Name, said)
	}
	return p.Name, nil
}
