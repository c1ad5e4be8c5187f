package operatorapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
)

const pathSession = "/api/v1/session"

// LoginForToken logs a user in by password and has an API token made for the user, with the
// user's own role unless r names another. The session ends again, however that goes.
func (c *Client) LoginForToken(ctx context.Context, l LoginRequest, r APITokenRequest) (t NewAPIToken, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return t, err
	}
	in := *c
	in.http.Jar = jar
	var s Session
	if err := in.Do(ctx, http.MethodPost, pathSession, nil, l, &s); err != nil {
		return t, err
	}
	defer func() {
		err = errors.Join(err, in.Do(context.WithoutCancel(ctx), http.MethodDelete, pathSession, nil, nil, nil))
	}()
	if r.Role == "" {
		r.Role = s.Role
	}
	err = in.Do(ctx, http.MethodPost, "/api/v1/api-tokens", nil, r, &t)
	return t, err
}
