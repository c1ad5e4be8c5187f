package kit

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

//go:embed python/observe.py
var observer string

// observedFile is where the observer writes, in the plugin's home.
const observedFile = ".stavily-observed"

const maxObserved = 4 << 20

// use is one thing that a Python process of the plugin did, or tried.
type use struct {
	Use   string // read, write, run, stat, socket, connect or lookup
	Path  string // or "host:port"
	Where string // the plugin's own line, where one led to it
}

// permissions compares what the plugin touches with what it declares.
func (t *trial) permissions(o *observation) {
	switch {
	case o == nil:
		t.card.skip("only what Python does can be observed", "permissions")
		return
	case o.uses == nil:
		t.card.skip("nothing was observed: "+first(fmt.Sprint(o.err)), "permissions")
		return
	}
	c, end := t.card.begin("permissions")
	a := newAudit(t.plugin, o.reach, o.uses, t.bench.settings.Config)
	tell := c.fail
	if !o.reach.Whole {
		c.note("what every plugin is shown is not known on this system: some of these may be allowed")
		tell = c.warn
	}
	for _, r := range a.refused {
		tell("%s", r)
	}
	for _, w := range a.doubtful {
		c.warn("%s", w)
	}
	if o.err == nil {
		for _, u := range a.unused() {
			c.warn("%s", u)
		}
	} else {
		c.note("what it uses where it completes is not known: %s", first(o.err.Error()))
	}
	t.card.Permissions = a.suggestion()
	end("%s of files, programs and destinations observed, %s refused; compiled modules and other programs are not seen", counted(len(o.uses), "use"), thousands(len(a.refused)))
}

// observation is what was seen of one use of the plugin.
type observation struct {
	uses  []use // nil where nothing could be seen
	reach agent.Reach
	err   error // why the use did not complete
}

// observe uses the plugin once, or a sensor twice, with the observer in it. It does so
// before all else, since the first use may do what later ones find done; nil where the
// plugin is not Python's.
func (t *trial) observe(ctx context.Context) (*observation, error) {
	if t.plugin.Runtime.Type != plugin.Python {
		return nil, nil
	}
	b, err := openBench(ctx, t.plugin, &t.setting, observer, io.Discard)
	if err != nil {
		return nil, err
	}
	o := &observation{}
	if o.reach, o.err = b.Reach(b.task()); o.err == nil {
		seen := &trial{tester: t.tester, plugin: t.plugin, bench: b, card: &Card{}}
		o.err = seen.useOnce(ctx)
		var home string
		if home, err = b.Home(t.plugin.ID); err == nil {
			var unseen error
			if o.uses, unseen = readUses(home); o.err == nil {
				o.err = unseen
			}
		}
	}
	return o, errors.Join(err, b.close())
}

// useOnce runs the plugin. How its runs end is told elsewhere.
func (t *trial) useOnce(ctx context.Context) error {
	h := &heard{}
	task := h.listen(t.bench.task())
	switch {
	case t.plugin.Kind != plugin.Sensor:
		r, _ := t.run(ctx, 1)
		if r.problem == nil && r.result.Status != api.Completed {
			return errors.New(r.result.ErrorMessage)
		}
		return r.problem
	case t.plugin.Runtime.Contract == plugin.Script:
		limited, cancel := context.WithTimeout(ctx, streamTime)
		defer cancel()
		_ = t.bench.Stream(limited, task) // always ends with an error: it runs for ever
		return nil
	}
	err := t.bench.Sense(ctx, task, time.Second, func(s *agent.Session) error {
		_, err := t.look(ctx, s, h)
		if err == nil {
			_, err = t.look(ctx, s, h)
		}
		if err == nil && s.Info().Push { // it works beside the looks, and has just begun
			select {
			case <-time.After(streamTime):
			case <-s.Done():
			case <-ctx.Done():
			}
		}
		return err
	})
	return err
}

// readUses reads what the observer wrote. It is the plugin's file: it is bounded, and
// says only what the plugin itself is told.
func readUses(home string) ([]use, error) {
	root, err := os.OpenRoot(home)
	if err != nil {
		return nil, fmt.Errorf("read what was observed: %w", err)
	}
	defer root.Close()
	text, err := limits.ReadFileIn(root, observedFile, maxObserved)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing was observed: Python does not import %s; it is older than 3.8, or started with -I or -S", filepath.Base("sitecustomize.py"))
	}
	if err != nil {
		return nil, fmt.Errorf("read what was observed: %w", err)
	}
	out := []use{}
	seen := map[use]bool{}
	for line := range bytes.Lines(text) {
		var u use
		if json.Unmarshal(line, &u) == nil && !seen[u] { // a line that was cut says nothing
			seen[u] = true
			out = append(out, u)
		}
	}
	return out, nil
}
