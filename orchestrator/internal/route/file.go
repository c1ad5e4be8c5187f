package route

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// File is an answer whose content lies in a file, of which a client may ask for a range
// (RFC 9110, section 14). It is closed when it was written.
type File struct {
	Content io.ReadSeekCloser
	Tag     string // names the content: the entity tag without quotes
	Type    string // of the content
	Header  map[string]string
}

// file answers with the range that was asked for.
func (r *reply) file(request *http.Request, f *File) error {
	defer f.Content.Close()
	h := r.w.Header()
	for name, value := range f.Header {
		h.Set(name, value)
	}
	h.Set("Content-Type", f.Type)
	h.Set("Etag", `"`+f.Tag+`"`)
	w := &patient{reply: r}
	http.ServeContent(w, request, "", time.Time{}, f.Content)
	switch {
	case w.refused != 0:
		h.Del("Etag")
		e := api.Errorf(api.CodeInvalid, "There is no such range of this content, or it is another by now; ask for all of it.")
		e.HTTPStatus = w.refused
		return e
	case w.err != nil:
		return fmt.Errorf("%w: %w", errClientGone, w.err)
	}
	return nil
}

// patient lets a client take as long as it needs for the whole of a file, and not stand
// still. What net/http would say of a range that is none is kept back.
type patient struct {
	reply   *reply
	refused int // the status of a refusal
	err     error
}

func (p *patient) Header() http.Header { return p.reply.w.Header() }

func (p *patient) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		p.refused = status
		return
	}
	p.reply.begun = true
	p.reply.w.WriteHeader(status)
}

func (p *patient) Write(b []byte) (int, error) {
	if p.refused != 0 {
		return len(b), nil
	}
	p.reply.begun = true
	err := p.reply.control.SetWriteDeadline(time.Now().Add(transferLimit))
	n := 0
	if err == nil {
		n, err = p.reply.w.Write(b)
	}
	p.err = errors.Join(p.err, err)
	return n, err
}

// upload is a body that is read as it comes.
type upload struct {
	reply *reply
	body  io.Reader
	left  int64
	most  int64
}

func newUpload(reply *reply, r *http.Request, row Row) (io.Reader, error) {
	if r.ContentLength > row.MaxUpload {
		return nil, tooLarge(row.MaxUpload)
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, api.Errorf(api.CodeMalformed, "Content-Encoding %.40q is not taken here; send the body as it is.", encoding)
	}
	return &upload{reply, r.Body, row.MaxUpload, row.MaxUpload}, nil
}

func (u *upload) Read(b []byte) (int, error) {
	if err := u.reply.control.SetReadDeadline(time.Now().Add(transferLimit)); err != nil {
		return 0, err
	}
	n, err := u.body.Read(b[:min(int64(len(b)), u.left+1)])
	if u.left -= int64(n); u.left < 0 {
		return 0, tooLarge(u.most)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		slow := api.Errorf(api.CodeMalformed, "Nothing of the body arrived for %s; send it again.", transferLimit)
		slow.HTTPStatus = http.StatusRequestTimeout
		return n, slow
	case err == io.EOF: // from here on the connection is read to learn that the client went away
		if err := u.reply.control.SetReadDeadline(time.Time{}); err != nil {
			return n, err
		}
	case err != nil:
		return n, api.Errorf(api.CodeMalformed, "The body ended early: %v.", err)
	}
	return n, err
}
