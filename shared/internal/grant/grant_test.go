//go:build unix

package grant

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// tree makes files in a directory without links and returns it: a name that ends in /
// is a directory, one with -> a link, one with = a socket, one with | a pipe.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name, to, link := strings.Cut(name, "->")
		path := filepath.Join(root, strings.Trim(name, "=|"))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		switch {
		case link && filepath.IsAbs(to):
			must(t, os.Symlink(to, path))
		case link:
			must(t, os.Symlink(filepath.Join(root, to), path))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o700))
		case strings.HasSuffix(name, "="):
			l, err := net.Listen("unix", path)
			must(t, err)
			t.Cleanup(func() { must(t, l.Close()) })
		case strings.HasSuffix(name, "|"):
			must(t, syscall.Mkfifo(path, 0o600))
		default:
			must(t, os.WriteFile(path, nil, 0o600))
		}
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var everything = Policy{Read: []string{"/"}, Write: []string{"/"}, Reach: Everything}

func resolve(t *testing.T, r Request) Grants {
	t.Helper()
	g, err := Resolve(r)
	must(t, err)
	return g
}

// relative writes paths below root as they stand in the tests.
func relative(root string, paths []string) []string {
	var out []string
	for _, p := range paths {
		out = append(out, strings.TrimPrefix(strings.ReplaceAll(p, root, ""), "/"))
	}
	return out
}

func account(root string, g Grants) []string {
	var out []string
	for _, d := range g.Account {
		out = append(out, strings.ReplaceAll(d.String(), root, "~"))
	}
	return out
}

// What a manifest may ask for, what the process gets and what people are told.
func TestPaths(t *testing.T) {
	root := tree(t, "srv/a/f", "srv/b/", "srv/link->srv/a", "srv/key->base/certificates", "srv/agent->base", "srv/gone->nowhere", "srv/loop->srv/loop",
		"srv/s=", "srv/tosocket->srv/s", "srv/p|", "base/certificates/key", "base/tmp/", "run/agent.sock=", "run/other/f", "other/f")
	for _, c := range []struct {
		ask     string
		want    []string // without a root of its own
		sockets []string
		masks   []string // with one
		told    string
	}{
		{ask: "srv/a", want: []string{"srv/a"}, told: "granted"},
		{ask: "srv/a/f", want: []string{"srv/a/f"}, told: "granted"},
		{ask: "srv//a/./", want: []string{"srv/a"}, told: "granted ~/srv/a"},
		{ask: "srv/link/f", want: []string{"srv/a/f"}, told: "granted ~/srv/a/f"},
		{ask: "srv/../base", told: "denied: goes back with '..': write where it leads"},
		{ask: "srv\x00", told: "denied: has a NUL in it"},
		{ask: "srv/gone", told: "denied: is not there, so it is left out"},
		{ask: "srv/none", told: "denied: is not there, so it is left out"},
		{ask: "srv/loop", told: "denied: cannot be followed: EvalSymlinks: too many links"},
		{ask: "base", told: "denied: belongs to the agent or is hidden by its owner: no plugin is shown it"},
		{ask: "base/certificates/key", told: "denied: belongs to the agent or is hidden by its owner: no plugin is shown it"},
		{ask: "srv/key", told: "denied: belongs to the agent or is hidden by its owner: no plugin is shown it"},
		{ask: "srv/agent/tmp", told: "denied: belongs to the agent or is hidden by its owner: no plugin is shown it"},
		{ask: "run/agent.sock", told: "denied: belongs to the agent or is hidden by its owner: no plugin is shown it"},
		{ask: "srv/s", sockets: []string{"srv/s"}, told: "granted"},
		{ask: "srv/tosocket", told: "denied: is a link to ~/srv/s: sockets and devices are granted by their own names"},
		{ask: "srv/p", told: "denied: is a pipe or the like: plugins are granted files, directories, sockets and character devices"},
		{ask: "run", want: []string{"run/other"}, masks: []string{"run/agent.sock"}, told: "granted: without ~/run/agent.sock"},
		{ask: "", want: []string{"other", "run/other", "srv"}, masks: []string{"base", "run/agent.sock", "srv/s"}, told: "granted: without ~/base, ~/run/agent.sock"},
	} {
		path := root + "/" + c.ask
		if c.ask == "" {
			path = root
		}
		r := Request{Kind: plugin.Action, Asks: plugin.Permissions{Read: []string{path}}, Policy: everything}
		r.Policy.Protected = []string{root + "/base", root + "/run/agent.sock"}
		g := resolve(t, r)
		told := strings.ReplaceAll(g.Account[0].String(), root, "~")
		if want := "read ~" + strings.TrimPrefix(path, root) + ": " + c.told; told != want {
			t.Errorf("%q: told %q\nwant %q", c.ask, told, want)
		}
		if diff := cmp.Diff(c.want, relative(root, g.Read), cmpopts.EquateEmpty()); diff != "" || len(g.Write)+len(g.Stat)+len(g.Masks) > 0 {
			t.Errorf("%q: read (-want +got):\n%s and %+v", c.ask, diff, g)
		}
		if diff := cmp.Diff(c.sockets, relative(root, g.Sockets), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: sockets (-want +got):\n%s", c.ask, diff)
		}
		r.Private = true
		g = resolve(t, r)
		if diff := cmp.Diff(c.masks, relative(root, g.Masks), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: masks (-want +got):\n%s", c.ask, diff)
		}
		if want := strings.HasPrefix(c.told, "denied"); want != (len(g.Read)+len(g.Sockets) == 0) {
			t.Errorf("%q: private: read %v, and people are told %q", c.ask, g.Read, c.told)
		}
	}
}

func TestCeilings(t *testing.T) {
	root := tree(t, "a/1/x", "a/2/x", "b/x", "alias->a/1")
	at := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, filepath.Join(root, n))
		}
		return out
	}
	for _, c := range []struct {
		ceiling, asked, want []string
		told                 []string
	}{
		{at("a"), at("a/1/x"), []string{"a/1/x"}, []string{"read ~/a/1/x: granted"}},
		{at("a/1", "a/2", "b/x"), at("a"), []string{"a/1", "a/2"}, []string{"read ~/a: granted ~/a/1, ~/a/2"}},
		{at("alias"), at("a"), []string{"a/1"}, []string{"read ~/a: granted ~/a/1"}},
		{at("a"), at("alias", "b"), []string{"a/1"}, []string{"read ~/alias: granted ~/a/1", "read ~/b: denied: is outside of what this host's policy lets plugins read"}},
		{nil, at("b"), nil, []string{"read ~/b: denied: is outside of what this host's policy lets plugins read"}},
		{at("a/1"), at("a/10"), nil, []string{"read ~/a/10: denied: is not there, so it is left out"}},
	} {
		g := resolve(t, Request{Kind: plugin.Action, Asks: plugin.Permissions{Read: c.asked}, Policy: Policy{Read: c.ceiling}})
		if diff := cmp.Diff(c.want, relative(root, g.Read), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%v within %v (-want +got):\n%s", c.asked, c.ceiling, diff)
		}
		if diff := cmp.Diff(c.told, account(root, g)); diff != "" {
			t.Errorf("%v within %v: told (-want +got):\n%s", c.asked, c.ceiling, diff)
		}
	}
}

func TestSensorNeverWrites(t *testing.T) {
	root := tree(t, "spool/x")
	asks := plugin.Permissions{Write: []string{root + "/spool"}}
	g := resolve(t, Request{Kind: plugin.Sensor, Asks: asks, Policy: everything})
	told := []string{"write ~/spool: granted: a sensor writes nothing but its own directories; it may read this"}
	if diff := cmp.Diff(told, account(root, g)); diff != "" || len(g.Write) > 0 || !slices.Equal(g.Read, []string{root + "/spool"}) || len(g.Warnings()) != 1 {
		t.Errorf("%+v, told (-want +got):\n%s", g, diff)
	}
	for _, kind := range []plugin.Kind{plugin.Action, plugin.Output} {
		if g := resolve(t, Request{Kind: kind, Asks: asks, Policy: everything}); len(g.Write) != 1 || len(g.Read) != 0 || len(g.Warnings()) != 0 {
			t.Errorf("%s: %+v", kind, g)
		}
	}
}

// The owner's configuration fills placeholders; where it does not, nothing is granted.
func TestPlaceholders(t *testing.T) {
	root := tree(t, "a/", "b/")
	g := resolve(t, Request{
		Kind:   plugin.Action,
		Asks:   plugin.Permissions{Read: []string{"${config.path}", "${config.none}", "${config.number}"}, Write: []string{"${config.roots}", "${config.empty}", "${config.worse}"}},
		Config: map[string]json.RawMessage{"path": quote(root + "/a"), "roots": json.RawMessage("[" + string(quote(root+"/b")) + `,"relative"]`), "empty": []byte("[]"), "number": []byte("5"), "worse": quote("${config.path}")},
		Policy: everything,
	})
	want := []string{
		"read ${config.path}: granted ~/a",
		"read ${config.none}: denied: none is not set in the plugin's configuration",
		"read ${config.number}: denied: number in the plugin's configuration is neither text nor a list of texts",
		"write ${config.roots}: granted ~/b",
		"write ${config.roots}: denied: relative: is not an absolute path",
		"write ${config.worse}: denied: ${config.path}: is not an absolute path",
	}
	if diff := cmp.Diff(want, account(root, g)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// What stands twice is granted once, for the wider use.
func TestGrantsAreMerged(t *testing.T) {
	root := tree(t, "a/b/c/", "d/")
	g := resolve(t, Request{Kind: plugin.Action, Private: true, Policy: everything, Asks: plugin.Permissions{
		Read: []string{root + "/a", root + "/a/b", root + "/d"}, Write: []string{root + "/a/b/c", root + "/d", root + "/d"}, Stat: []string{root, root + "/a/b"},
	}})
	got := Grants{Read: relative(root, g.Read), Write: relative(root, g.Write), Stat: relative(root, g.Stat)}
	if diff := cmp.Diff(Grants{Read: []string{"a"}, Write: []string{"a/b/c", "d"}, Stat: []string{""}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The agent's program is read but not written, also when all around it is.
func TestSealed(t *testing.T) {
	root := tree(t, "bin/agent", "bin/tool")
	p := everything
	p.Sealed = []string{root + "/bin/agent"}
	for _, private := range []bool{false, true} {
		g := resolve(t, Request{Kind: plugin.Action, Private: private, Policy: p, Asks: plugin.Permissions{Read: []string{root + "/bin/agent"}, Write: []string{root + "/bin", root + "/bin/agent"}}})
		if !slices.Equal(relative(root, g.Write), []string{"bin/tool"}) || !slices.Equal(relative(root, g.Read), []string{"bin/agent"}) {
			t.Errorf("private %v: %+v", private, g)
		}
	}
}

func TestTooManyParts(t *testing.T) {
	root := tree(t, "base/")
	for i := range maxParts + 1 {
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprint("f", i)), nil, 0o600))
	}
	p := everything
	p.Protected = []string{root + "/base"}
	g := resolve(t, Request{Kind: plugin.Action, Policy: p, Asks: plugin.Permissions{Read: []string{root}}})
	if want := "read ~: denied: has more than 4096 entries beside what is protected in ~: name what is needed below it"; len(g.Read) != 0 || account(root, g)[0] != want {
		t.Errorf("%d granted, told %q", len(g.Read), account(root, g))
	}
}

func TestPolicyThatCannotBeUnderstood(t *testing.T) {
	if _, err := Resolve(Request{Policy: Policy{Protected: []string{"base"}}}); err == nil {
		t.Error("a relative protected path was taken")
	}
}
