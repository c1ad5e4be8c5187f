package route

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// readBody takes the whole body within the bounds of the row. A client that
// dribbles is cut off after bodyLimit.
func readBody(reply *reply, r *http.Request, row Row) ([]byte, error) {
	if r.ContentLength > row.MaxBody {
		return nil, tooLarge(row.MaxBody)
	}
	limit := bodyLimit(row)
	if err := reply.control.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	raw, err := limits.ReadAbout(r.Body, r.ContentLength, row.MaxBody)
	switch {
	case errors.Is(err, limits.ErrTooLarge):
		return nil, tooLarge(row.MaxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		slow := api.Errorf(api.CodeMalformed, "The body did not arrive within %s; send less at a time.", limit)
		slow.HTTPStatus = http.StatusRequestTimeout
		return nil, slow
	case err != nil:
		return nil, api.Errorf(api.CodeMalformed, "The body ended early: %v.", err)
	}
	// The connection is read on for as long as the handler waits, to learn that the
	// client went away: no deadline may cut a long poll.
	if err := reply.control.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return expand(raw, r.Header.Get("Content-Encoding"), row)
}

func expand(raw []byte, encoding string, row Row) ([]byte, error) {
	switch {
	case encoding == "" || encoding == "identity" || len(raw) == 0:
		return raw, nil
	case encoding != "gzip" || row.MaxExpanded == 0:
		return nil, api.Errorf(api.CodeMalformed, "Content-Encoding %.40q is not taken here; send the body as it is.", encoding)
	}
	body, err := limits.Gunzip(bytes.NewReader(raw), row.MaxExpanded)
	if errors.Is(err, limits.ErrTooLarge) {
		return nil, tooLarge(row.MaxExpanded)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeMalformed, "The body is not valid gzip: %v.", err)
	}
	return body, nil
}

func tooLarge(max int64) *api.Error {
	return api.Errorf(api.CodeTooLarge, "The body is over this route's limit of %d bytes; send less at a time.", max)
}

// bodyLimit is in which a body has to be here. A small one has less time, so that who sends it
// byte by byte, perhaps without a certificate, holds no connection for long.
func bodyLimit(row Row) time.Duration {
	if row.MaxBody <= small {
		return smallLimit
	}
	return transferLimit
}
