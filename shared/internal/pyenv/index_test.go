package pyenv

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/internal/sandbox"
)

// TestTheIndexIsAskedOnlyForWhatIsNotAtHand also looks for its password in everything
// that is said and left.
func TestTheIndexIsAskedOnlyForWhatIsNotAtHand(t *testing.T) {
	const password = "s3cr3t&more"
	remote := wheeltest.Wheel{Name: "remote", Version: "1.0", Requires: []string{"local"}}
	var asked atomic.Int64
	index := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch _, given, _ := r.BasicAuth(); {
		case given != password:
			w.Header().Set("WWW-Authenticate", `Basic realm="index"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/simple/remote/":
			name := path.Base(remote.File())
			fmt.Fprintf(w, `<html><body><a href="/files/%s">%[1]s</a></body></html>`, name)
		case strings.HasPrefix(r.URL.Path, "/files/"):
			w.Write(remote.Bytes(t))
		default:
			http.NotFound(w, r)
		}
	}))
	defer index.Close()
	online := false
	w := newWorkshop(t, func(o *Options) {
		o.Policy.IndexURL = strings.Replace(index.URL, "http://", "http://builder:s3cr3t%26more@", 1) + "/simple/"
		confine := o.Confine
		o.Confine = func(ctx context.Context, s *sandbox.Spec, reach bool) (func() error, error) {
			online = online || reach
			s.Network.All = reach
			if strings.Contains(fmt.Sprint(s.Args, s.Env), "s3cr3t") {
				t.Error("the password stands where every process of the host sees it")
			}
			return confine(ctx, s, reach)
		}
	})
	var said strings.Builder
	progress := func(line string) { said.WriteString(line + "\n") }
	local := wheeltest.Wheel{Name: "local", Version: "1.0"}
	if _, err := w.Prepare(t.Context(), w.plugin("offline", with(t, "local\n", local)), progress); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 0 || online {
		t.Errorf("the index was asked %d times for what is at hand", asked.Load())
	}
	p := w.plugin("online", with(t, "remote\n", local))
	i, err := w.Prepare(t.Context(), p, progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, w.log)
	}
	if got := w.run(i, p, "import remote, local; print(remote.VERSION, local.VERSION)"); got != "1.0 1.0" {
		t.Errorf("imports %q", got)
	}
	_, err = w.Prepare(t.Context(), w.plugin("neither", with(t, "nowhere==1.0\n")), progress)
	if err == nil || !strings.Contains(err.Error(), "requirements.txt:1: nowhere==1.0: is neither at hand nor in the index") {
		t.Errorf("error %v", err)
	}
	index.Close()
	_, unreachable := w.Prepare(t.Context(), w.plugin("away", with(t, "remote>=1\n")), progress)
	if unreachable == nil || !strings.Contains(unreachable.Error(), "plugins.python.index_url) does not answer") {
		t.Errorf("error %v", unreachable)
	}
	for what, text := range map[string]string{"progress": said.String(), "log": w.log.String(), "error": fmt.Sprint(err, unreachable)} {
		if strings.Contains(text, "s3cr3t") {
			t.Errorf("%s holds the password: %s", what, text)
		}
	}
	noneHolds(t, w.base, "s3cr3t")
}

// noneHolds looks for a text in all files below dir.
func noneHolds(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			t.Errorf("%s holds it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
