package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxOrder bounds what a caller sends.
const maxOrder = 64 << 10

// installOrder is what `plugins install` asks for.
type installOrder struct {
	Path          string `json:"path"` // absolute: a directory or a package file
	AllowUnsigned bool   `json:"allow_unsigned"`
	Approve       bool   `json:"approve"` // that it asks for more than the version in use
}

// said is one line of the answer to an order: how far it is, or its end.
type said struct {
	Progress string      `json:"progress,omitempty"`
	Done     *changeDone `json:"done,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// changeDone is how an order ended.
type changeDone struct {
	ID        api.PluginID `json:"id"`
	Version   string       `json:"version,omitempty"`
	Digest    string       `json:"digest,omitempty"`
	Before    string       `json:"before,omitempty"`
	Unchanged bool         `json:"unchanged,omitempty"`
	Note      string       `json:"note,omitempty"`
}

// approvedByOwner is who accepts what is installed at the control socket.
const approvedByOwner = "the host's owner"

// controlHandler answers at the control socket. Orders are carried out until ctx ends.
func (rt *Runtime) controlHandler(ctx context.Context) http.Handler {
	p := rt.Plugins
	mux := http.NewServeMux()
	rt.controlConfiguration(mux)
	mux.HandleFunc("GET /plugins", func(w http.ResponseWriter, _ *http.Request) { tell(w, p.States(), nil) })
	mux.HandleFunc("GET /plugins/{id}", func(w http.ResponseWriter, r *http.Request) {
		d, err := p.Details(api.PluginID(r.PathValue("id")))
		tell(w, d, err)
	})
	mux.HandleFunc("POST /plugins", func(w http.ResponseWriter, r *http.Request) {
		var order installOrder
		if err := limits.DecodeJSON(http.MaxBytesReader(w, r.Body, maxOrder), maxOrder, &order); err != nil {
			tell(w, nil, err)
			return
		}
		carryOut(ctx, w, func(ctx context.Context, say func(string)) (changeDone, error) {
			return p.installOrdered(ctx, order, say)
		})
	})
	verb := func(name string, do func(ctx context.Context, id api.PluginID) (changeDone, error)) {
		mux.HandleFunc("POST /plugins/{id}/"+name, func(w http.ResponseWriter, r *http.Request) {
			id := api.PluginID(r.PathValue("id"))
			carryOut(ctx, w, func(ctx context.Context, _ func(string)) (changeDone, error) {
				if err := id.Validate(); err != nil {
					return changeDone{}, err
				}
				return do(ctx, id)
			})
		})
	}
	verb("enable", func(_ context.Context, id api.PluginID) (changeDone, error) {
		return changeDone{ID: id}, p.SetEnabled(id, true)
	})
	verb("disable", func(_ context.Context, id api.PluginID) (changeDone, error) {
		return changeDone{ID: id}, p.SetEnabled(id, false)
	})
	verb("remove", func(_ context.Context, id api.PluginID) (changeDone, error) { return changeDone{ID: id}, p.Remove(id) })
	verb("rollback", func(ctx context.Context, id api.PluginID) (changeDone, error) {
		c, err := p.Rollback(ctx, id)
		return doneOf(c), err
	})
	return mux
}

func doneOf(c Change) changeDone {
	if c.Plugin == nil {
		return changeDone{}
	}
	return changeDone{ID: c.Plugin.ID, Version: c.Plugin.Version, Digest: c.Plugin.Digest, Before: c.Before, Unchanged: c.Unchanged}
}

// tell answers a question.
func tell(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, fs.ErrNotExist) {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		v = said{Error: err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // who asked may have gone
}

// carryOut does what was ordered and tells line by line how it goes. An order goes on
// when who gave it hangs up: half of it would help nobody.
func carryOut(ctx context.Context, w http.ResponseWriter, do func(ctx context.Context, say func(string)) (changeDone, error)) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines, flusher := json.NewEncoder(w), http.NewResponseController(w)
	line := func(s said) {
		_ = lines.Encode(s) // who asked may have gone
		_ = flusher.Flush()
	}
	done, err := do(ctx, func(text string) { line(said{Progress: text}) })
	if err != nil {
		line(said{Error: err.Error()})
		return
	}
	line(said{Done: &done})
}

// installOrdered installs a directory or a package file that the host's owner names.
func (p *Plugins) installOrdered(ctx context.Context, o installOrder, say func(string)) (changeDone, error) {
	approved := ""
	if o.Approve {
		approved = approvedByOwner
	}
	change, err := p.installFrom(ctx, o, approved, say)
	var grown *GrownError
	if errors.As(err, &grown) {
		return changeDone{}, fmt.Errorf("%w: --approve approves it", err)
	}
	done := doneOf(change)
	if err == nil && p.slotOf(change.Plugin.ID).disabled {
		done.Note = "the plugin is disabled: `plugins enable " + string(change.Plugin.ID) + "` lets it run"
	}
	return done, err
}

// installDirectory installs what is in a directory, once.
func (p *Plugins) installDirectory(ctx context.Context, dir, approved string, say func(string)) (Change, error) {
	from := catalog.Origin{Kind: catalog.FromDirectory, From: dir, Approved: approved}
	return p.installTree(ctx, wanted{approved: approved}, say, func(ctx context.Context, aside string) (catalog.Origin, error) {
		say("copying")
		return from, catalog.Copy(ctx, dir, aside)
	})
}
