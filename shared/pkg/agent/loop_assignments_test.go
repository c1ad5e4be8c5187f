//go:build unix

package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// shelf is an orchestrator that knows one agent and what it is to have.
type shelf struct {
	t   *testing.T
	url string
	ca  *pkitest.Authority

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	set     api.Assignments
	files   map[string][]byte // by digest
	fetched []string          // what was asked for: version and Range
	cut     int               // bodies that end in the middle
	unknown bool              // an orchestrator that has no assignments
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{t: t, ca: pkitest.New(t, "ca"), files: map[string][]byte{}, changed: make(chan struct{}), set: api.Assignments{Version: "0", Plugins: []api.AssignedPlugin{}}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that are cut
	server.TLS = &tls.Config{Certificates: []tls.Certificate{s.ca.Issue(pkitest.Server())}}
	server.StartTLS()
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *shelf) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	set, changed, unknown := s.set, s.changed, s.unknown
	s.mu.Unlock()
	if !strings.HasPrefix(r.URL.Path, "/agents/v1/web-01/plugins") || unknown {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": {"code": "not_found", "message": "There is no such call."}}`)
		return
	}
	if parts := strings.Split(r.URL.Path, "/"); len(parts) == 7 {
		s.file(w, r, parts[5], parts[6])
		return
	}
	if r.URL.Query().Get("version") == set.Version {
		select {
		case <-changed:
		case <-time.After(time.Second):
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // an empty answer would be one
		}
		s.mu.Lock()
		set = s.set
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(set); err != nil {
		s.t.Error(err)
	}
}

func (s *shelf) file(w http.ResponseWriter, r *http.Request, id, version string) {
	s.mu.Lock()
	s.fetched = append(s.fetched, strings.TrimSpace(version+" "+r.Header.Get("Range")))
	cut := s.cut > 0
	if cut {
		s.cut--
	}
	var body []byte
	digest := ""
	for _, p := range s.set.Plugins {
		if string(p.ID) == id && p.Version == version {
			body, digest = s.files[p.Digest], p.Digest
		}
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set(api.HeaderDigest, digest)
	w.Header().Set("ETag", `"`+digest+`"`)
	if cut {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// assign makes the set what these are, one of each plugin.
func (s *shelf) assign(plugins ...api.AssignedPlugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = api.Assignments{Version: fmt.Sprint(time.Now().UnixNano()), Plugins: append([]api.AssignedPlugin{}, plugins...)}
	close(s.changed)
	s.changed = make(chan struct{})
}

// put packs a version of tidy, which brings and requires wheels, and gives what would assign it.
func (s *shelf) put(key *bundle.Signer, version, manifest, program string, wheels ...wheeltest.Wheel) api.AssignedPlugin {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "p")
	write(s.t, filepath.Join(dir, "plugin.yaml"), "id: tidy\nversion: "+version+"\n"+manifest)
	write(s.t, filepath.Join(dir, "main.py"), program)
	requirements := ""
	for _, w := range wheels {
		write(s.t, filepath.Join(dir, w.File()), string(w.Bytes(s.t)))
		requirements += w.Name + "==" + w.Version + "\n"
	}
	write(s.t, filepath.Join(dir, "requirements.txt"), requirements)
	var b bytes.Buffer
	index, err := bundle.Pack(&b, dir, key)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[digest] = b.Bytes()
	return api.AssignedPlugin{ID: "tidy", Version: version, Type: "action", Digest: digest, TreeDigest: index.Digest, Size: int64(b.Len()), Attempt: 1}
}

func (s *shelf) downloads() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.fetched...)
}

// follower is an agent that does as the shelf says while the test goes on.
type follower struct {
	*host
	shelf *shelf
	key   *bundle.Signer
	stop  func()
}

func newFollower(t *testing.T, environ ...string) *follower {
	t.Helper()
	s, key := newShelf(t), newSigner(t)
	h := newHost(t, api.Action, nil, append(environ,
		"STAVILY_API_BASE_URL="+s.url, "STAVILY_PLUGINS_TRUSTED_KEYS="+key.Key().Line(), "STAVILY_API_RETRY_INITIAL_INTERVAL=10ms", "STAVILY_API_RETRY_MAX_INTERVAL=50ms")...)
	enrolled(t, h.rt.Config(), s.ca, "acme/action/web-01")
	var err error
	if h.rt.identity, err = h.rt.loadIdentity(); err == nil {
		h.rt.API, err = h.rt.connect(h.rt.identity)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{host: h, shelf: s, key: key}
	f.start()
	t.Cleanup(func() { f.stop(); h.rt.API.CloseIdle() })
	return f
}

// start begins a life of the agent's loop: all that it knows is on disk.
func (f *follower) start() {
	f.rt.assigned = openAssigned(f.rt)
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.rt.followAssignments(ctx) }()
	f.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
}

// is waits until the agent says this of the package and has this version in use.
func (f *follower) is(p api.AssignedPlugin, state api.PackageState, says, inUse string) {
	f.t.Helper()
	var last []api.AssignedState
	f.eventually(fmt.Sprintf("%s %s in use, and of %s %s: %s", inUse, state, p.ID, p.Version, says), func() bool {
		last = f.rt.assigned.list()
		m, err := f.Find("tidy")
		version := ""
		if err == nil {
			version = m.Version
		}
		return version == inUse && len(last) == 1 && last[0].Digest == p.Digest && last[0].Attempt == p.Attempt && last[0].State == state && strings.Contains(last[0].Message, says)
	})
}

const fine = "print('{\"fine\": true}')\n"

func TestAssignedPackagesAreInstalledAndRemoved(t *testing.T) {
	f := newFollower(t)
	one := f.shelf.put(f.key, "1.0.0", scripted, fine)
	f.shelf.assign(one)
	f.is(one, api.PackageReady, "", "1.0.0")
	f.ended(f.Execute(t.Context(), f.order("tidy", nil)), api.Completed, "")

	// A download that breaks off goes on where it ended.
	two := f.shelf.put(f.key, "1.1.0", scripted, fine+strings.Repeat("# this makes it longer\n", 10))
	f.shelf.mu.Lock()
	f.shelf.cut = 1
	f.shelf.mu.Unlock()
	f.shelf.assign(two)
	f.is(two, api.PackageReady, "", "1.1.0")
	if got, want := f.shelf.downloads(), []string{"1.0.0", "1.1.0", fmt.Sprintf("1.1.0 bytes=%d-", two.Size/2)}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("downloads %q, want %q", got, want)
	}
	f.shelf.assign()
	f.eventually("what is not assigned any more is removed", func() bool { _, err := f.Find("tidy"); return err != nil })
	if left, _ := os.ReadDir(filepath.Join(f.base, "data", "cache", "packages")); len(left) > 0 {
		t.Errorf("left %v of what was fetched", left)
	}
	if states := f.rt.assigned.list(); len(states) > 0 {
		t.Errorf("still tells of %+v", states)
	}
}

// What this host could not write is no fault of the version: it is tried again by itself.
func TestWhatThisHostCannotWriteIsTriedAgain(t *testing.T) {
	f := newFollower(t)
	one, two := f.shelf.put(f.key, "1.0.0", scripted, fine), f.shelf.put(f.key, "1.1.0", scripted, fine+"# and more\n")
	fetched := filepath.Join(f.base, "data", "cache", "packages")
	if err := os.WriteFile(fetched, nil, 0o600); err != nil { // where a directory has to be
		t.Fatal(err)
	}
	f.shelf.assign(one)
	f.is(one, api.PackageInstalling, "is tried again: ", "")
	if err := os.Remove(fetched); err != nil {
		t.Fatal(err)
	}
	f.is(one, api.PackageReady, "", "1.0.0")

	links, err := filepath.Glob(filepath.Join(f.base, "data", "*", "tidy", "active"))
	if err != nil || len(links) != 1 {
		t.Fatalf("links %q, %v", links, err)
	}
	next := filepath.Join(filepath.Dir(links[0]), ".active.new")
	if err := os.MkdirAll(filepath.Join(next, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	f.shelf.assign(two)
	f.is(two, api.PackageInstalling, "is tried again: activate ", "1.0.0")
	if err := os.RemoveAll(next); err != nil {
		t.Fatal(err)
	}
	f.is(two, api.PackageReady, "", "1.1.0")
}

func TestAnOrchestratorWithoutAssignmentsRemovesNothing(t *testing.T) {
	f := newFollower(t)
	one := f.shelf.put(f.key, "1.0.0", scripted, fine)
	f.shelf.assign(one)
	f.is(one, api.PackageReady, "", "1.0.0")
	f.stop()
	f.shelf.mu.Lock()
	f.shelf.unknown = true
	f.shelf.mu.Unlock()
	f.start()
	time.Sleep(200 * time.Millisecond) // several times what it would need
	f.stop()
	if _, err := f.Find("tidy"); err != nil {
		t.Errorf("an orchestrator that does not know the call had it removed: %v", err)
	}
	if c := f.rt.Health.Snapshot().Conditions; strings.Contains(fmt.Sprint(c), conditionOffline) {
		t.Errorf("that is told as trouble: %+v", c)
	}
}

// What the agent does not take leaves the version in use, is told with its reason, is not
// tried again by itself or after a restart, and is tried again when it is asked for anew.
func TestAssignedPackagesThatAreNotTaken(t *testing.T) {
	f := newFollower(t)
	one := f.shelf.put(f.key, "1.1.0", scripted, fine)
	f.shelf.assign(one)
	f.is(one, api.PackageReady, "", "1.1.0")

	wrongID := f.shelf.put(f.key, "1.2.0", scripted, fine)
	wrongID.Version = "1.3.0"
	wrongTree := f.shelf.put(f.key, "1.2.1", scripted, fine)
	wrongTree.TreeDigest = one.Digest
	damaged := f.shelf.put(f.key, "1.2.2", scripted, fine)
	f.shelf.files[damaged.Digest] = append([]byte{}, f.shelf.files[one.Digest]...)
	for _, c := range []struct {
		p     api.AssignedPlugin
		state api.PackageState
		says  string
	}{
		{f.shelf.put(newSigner(t), "1.2.3", scripted, fine), api.PackageRefused, "a key that is not trusted here"},
		{f.shelf.put(nil, "1.2.4", scripted, fine), api.PackageRefused, "is not signed"},
		{wrongID, api.PackageRefused, "holds version 1.2.0, and 1.3.0 was asked for"},
		{wrongTree, api.PackageRefused, "was asked for"},
		{damaged, api.PackageFailed, "not the one that was assigned"},
		{f.shelf.put(f.key, "1.0.0", scripted, fine), api.PackageRefused, "is older than 1.1.0"},
		{f.shelf.put(f.key, "1.4.0", strings.Replace(scripted, "action", "sensor", 1), fine), api.PackageRefused, "is a plugin of type sensor"},
		{f.shelf.put(f.key, "1.5.0", scripted+"permissions: {network: true}\n", fine), api.PackageWaiting, "asks for more than 1.1.0, which is in use: network"},
		{f.shelf.put(f.key, "1.6.0", "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n", "raise SystemExit('no database')\n"), api.PackageFailed, "does not load"},
	} {
		f.shelf.assign(c.p)
		f.is(c.p, c.state, c.says, "1.1.0")
		health := fmt.Sprintf("%+v", f.rt.Health.Snapshot().Conditions)
		if !strings.Contains(health, "version "+c.p.Version+" of plugin tidy is assigned and not in use") {
			t.Errorf("%s: health is %s", c.p.Version, health)
		}
		if infos := f.Infos(); len(infos) != 1 || infos[0].State != pluginReady || !strings.Contains(infos[0].Message, c.says) {
			t.Errorf("%s: the list says %+v", c.p.Version, infos)
		}
		had := len(f.shelf.downloads())
		f.stop()
		f.start()
		f.eventually("the agent has the set", func() bool { return f.rt.assigned.current().Version != "" })
		f.rt.assigned.follow(t.Context())
		f.is(c.p, c.state, c.says, "1.1.0")
		if now := len(f.shelf.downloads()); now != had {
			t.Errorf("%s: fetched %d more times after it was given up", c.p.Version, now-had)
		}
		again := c.p
		again.Attempt++
		f.shelf.assign(again)
		f.is(again, c.state, c.says, "1.1.0")
	}
	f.shelf.assign(one)
	f.is(one, api.PackageReady, "", "1.1.0")
	if health := fmt.Sprintf("%+v", f.rt.Health.Snapshot().Conditions); strings.Contains(health, "assigned_tidy") {
		t.Errorf("health still says %s", health)
	}
}

func TestGrownPermissionsWaitForApproval(t *testing.T) {
	f := newFollower(t)
	one := f.shelf.put(f.key, "1.0.0", scripted, fine)
	f.shelf.assign(one)
	f.is(one, api.PackageReady, "", "1.0.0")
	two := f.shelf.put(f.key, "2.0.0", scripted+"permissions: {filesystem: {read: [/srv], write: [/var/log]}}\n", fine)
	f.shelf.assign(two)
	f.is(two, api.PackageWaiting, "read /srv, write /var/log", "1.0.0")
	two.Approved = true
	f.shelf.assign(two)
	f.is(two, api.PackageReady, "", "2.0.0")
	e := f.store.Entry("tidy")
	if v, _ := e.Of(e.Active); v.Origin.Approved != "an operator" || v.Origin.Signer != f.key.Key().String() {
		t.Errorf("origin %+v", v.Origin)
	}
}

// The one way to something older is the last good version of this host.
func TestGoingBackToTheLastGoodVersion(t *testing.T) {
	f := newFollower(t)
	one, two := f.shelf.put(f.key, "1.0.0", scripted, fine), f.shelf.put(f.key, "2.0.0", scripted, fine)
	for _, p := range []api.AssignedPlugin{one, two} {
		f.shelf.assign(p)
		f.is(p, api.PackageReady, "", p.Version)
		if err := f.store.Prove("tidy"); err != nil {
			t.Fatal(err)
		}
	}
	had := len(f.shelf.downloads())
	back := one
	back.Attempt = 2
	f.shelf.assign(back)
	f.is(back, api.PackageReady, "", "1.0.0")
	if now := len(f.shelf.downloads()); now != had {
		t.Errorf("it was fetched, although it is here")
	}
}

func TestAutoUpdateOff(t *testing.T) {
	f := newFollower(t, "STAVILY_PLUGINS_AUTO_UPDATE=false")
	one := f.shelf.put(f.key, "1.0.0", scripted, fine)
	f.shelf.assign(one)
	f.is(one, api.PackageRefused, "plugins.auto_update is false", "")
	if infos := f.Infos(); len(infos) != 1 || infos[0].State != pluginRefused {
		t.Errorf("the list says %+v", infos)
	}
	got := f.Change(t.Context(), changing(api.TypeInstall, api.PluginConfiguration{Version: "^1"}))
	if got.Status != api.Completed || !strings.Contains(string(got.Result), `"kind":"orchestrator"`) {
		t.Fatalf("%s: %s %s", got.Status, got.ErrorMessage, got.Result)
	}
	f.is(one, api.PackageReady, "", "1.0.0")
	f.shelf.assign()
	f.eventually("the empty set came", func() bool { return len(f.rt.assigned.current().Plugins) == 0 })
	time.Sleep(50 * time.Millisecond)
	if _, err := f.Find("tidy"); err != nil {
		t.Errorf("it was removed: %v", err)
	}
}
