package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

//go:embed templates
var templates embed.FS

// view is what a template shows: one struct a page.
type view interface {
	template() string // the name of its file
	framed() *frame
}

// frame is what every page has around its own.
type frame struct {
	Title   string
	Section string // of the navigation
	Org     api.OrgID
	Person  string
	Waiting int // approvals
	Live    bool
	At      time.Time

	role account.Role
}

func (f *frame) framed() *frame { return f }

// May reports whether the person may use buttons that are for a role.
func (f *frame) May(role string) bool { return f.role.Includes(account.Role(role)) }

// Role is what the person is in the organisation.
func (f *frame) Role() string { return string(f.role) }

// views are the parsed templates by the name of their file.
type views map[string]*template.Template

const (
	layout, parts = "layout.html", "parts.html" // are in every page
	htmlType      = "text/html; charset=utf-8"
	streamType    = "text/event-stream"
)

func parseViews(a assets) (views, error) {
	base, err := template.New(layout).Funcs(words(a)).ParseFS(templates, "templates/"+layout, "templates/"+parts)
	if err != nil {
		return nil, fmt.Errorf("templates of the dashboard: %w", err)
	}
	names, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	out := views{}
	for _, name := range names {
		if name := path.Base(name); name == layout || name == parts {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templates, name)
		}
		if err != nil {
			return nil, fmt.Errorf("templates of the dashboard: %w", err)
		}
		out[path.Base(name)] = t
	}
	return out, nil
}

// render executes one part of a page: the layout for the whole of it.
func (s *Site) render(v view, part string) ([]byte, error) {
	t := s.views[v.template()]
	if t == nil {
		return nil, fmt.Errorf("the dashboard has no template %q", v.template())
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, part, v); err != nil {
		return nil, fmt.Errorf("page %s: %w", v.template(), err)
	}
	return b.Bytes(), nil
}

// whole is a page from its head to its end.
func (s *Site) whole(ctx context.Context, c *route.Call, v view, status int) (*route.Document, error) {
	if err := s.furnish(ctx, c, v.framed()); err != nil {
		return nil, err
	}
	body, err := s.render(v, layout)
	if err != nil {
		return nil, err
	}
	return &route.Document{Status: status, Type: htmlType, Body: body}, nil
}

// furnish fills in what every page shows about the one who looks.
func (s *Site) furnish(ctx context.Context, c *route.Call, f *frame) error {
	f.Org, f.Person, f.role, f.At = c.Principal.Org, c.Principal.Name, c.Principal.Role, time.Now()
	if f.Org == "" {
		return nil // nobody has logged in
	}
	return s.engine.View(ctx, f.Org, func(r store.Reader) error {
		waiting, err := r.Approvals()
		f.Waiting = len(waiting)
		return err
	})
}

// builder reads what a page shows.
type builder func(context.Context, *route.Call) (view, error)

// page serves a page, and the changes of it to whoever asks for a stream. changed is what
// tells that there may be one; nil: there is no stream of it.
func (s *Site) page(build builder, changed func() <-chan struct{}) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		if changed != nil && c.Header("Accept") == streamType {
			return s.follow(c, build, changed), nil
		}
		v, err := build(ctx, c)
		if err != nil {
			return s.refused(ctx, c, err)
		}
		v.framed().Live = changed != nil
		return s.whole(ctx, c, v, http.StatusOK)
	}
}

const (
	streamLimit = 5 * time.Minute        // then who may look is asked anew
	calm        = 250 * time.Millisecond // between two states of a page at least
	again       = 10 * time.Second       // until a page is looked at that nothing was told of: agents fall silent
)

// follow sends the main part of a page whenever it is another.
func (s *Site) follow(c *route.Call, build builder, changed func() <-chan struct{}) route.Stream {
	return func(ctx context.Context, emit func(any) error) error {
		ctx, cancel := context.WithTimeout(ctx, streamLimit)
		defer cancel()
		var last []byte
		for {
			change := changed() // before the look, so that nothing falls in between
			now, err := s.main(ctx, c, build)
			if err == nil && !bytes.Equal(now, last) {
				last, err = now, emit(string(now))
			}
			if err == nil {
				err = pause(ctx, change)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
}

// pause waits for a change, though not for less than calm.
func pause(ctx context.Context, change <-chan struct{}) error {
	for _, next := range []<-chan struct{}{nil, change} {
		wait := calm
		if next != nil {
			wait = again
		}
		select {
		case <-next:
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *Site) main(ctx context.Context, c *route.Call, build builder) ([]byte, error) {
	v, err := build(ctx, c)
	if err != nil {
		return nil, err
	}
	v.framed().Live = true
	if err := s.furnish(ctx, c, v.framed()); err != nil {
		return nil, err
	}
	return s.render(v, "main")
}

// read runs f over one view of the organisation of the one who looks.
func (s *Site) read(ctx context.Context, c *route.Call, f func(store.Reader) error) error {
	return s.engine.View(ctx, c.Principal.Org, f)
}
