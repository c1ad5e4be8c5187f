package route

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Document is an answer that is written as it is: a page, a picture, a redirection.
type Document struct {
	Status  int    // 0: 200
	Type    string // of the body
	Header  http.Header
	Cookies []*http.Cookie
	Body    []byte
}

// page writes a document.
func (r *reply) page(d *Document) error {
	h := r.w.Header()
	for name, values := range d.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	for _, c := range d.Cookies {
		http.SetCookie(r.w, c)
	}
	if d.Type != "" {
		h.Set("Content-Type", d.Type)
	}
	status := d.Status
	if status == 0 {
		status = http.StatusOK
	}
	if err := r.control.SetWriteDeadline(time.Now().Add(transferLimit)); err != nil {
		return err
	}
	bodiless := status == http.StatusNoContent || status == http.StatusNotModified
	if !bodiless {
		h.Set("Content-Length", strconv.Itoa(len(d.Body)))
	}
	r.begun = true
	r.w.WriteHeader(status)
	if bodiless {
		return nil
	}
	if _, err := r.w.Write(d.Body); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// Header is a field of the request's header.
func (c *Call) Header(name string) string { return c.request.Header.Get(name) }

// Path is the path of the request, escaped as it came.
func (c *Call) Path() string { return c.request.URL.EscapedPath() }

// Method is the method of the request.
func (c *Call) Method() string { return c.request.Method }

// Address is the IP address that the request comes from.
func (c *Call) Address() string { return address(c.request) }

// Host is the name, with its port, by which the server was called.
func (c *Call) Host() string { return c.request.Host }

// maxFields bounds a form; a page has a few.
const maxFields = 200

// Form reads the body, a form in the encoding that browsers use by default. The error is
// the answer.
func (c *Call) Form() (url.Values, error) {
	kind, _, _ := strings.Cut(c.Header("Content-Type"), ";")
	if kind != "application/x-www-form-urlencoded" {
		return nil, api.Errorf(api.CodeMalformed, "The body is %.80q and must be a form: application/x-www-form-urlencoded.", kind)
	}
	if strings.Count(string(c.Body), "&") >= maxFields {
		return nil, api.Errorf(api.CodeTooLarge, "The form has more than %d fields.", maxFields)
	}
	values, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return nil, api.Errorf(api.CodeMalformed, "The body is not a form: %v.", err)
	}
	return values, nil
}
