package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCookbook runs each entry of the cookbook from its trigger to its effect: official
// plugins on real agents, a real bus with a stand-in for systemd, a mail server, and a web
// server that is service and chat at once. Of the texts only paths, addresses and times of
// day are other ones; what the disk says is told, for it cannot be filled.
func TestCookbook(t *testing.T) {
	t.Parallel()
	k := newKitchen(t)
	for _, name := range entries(t) {
		if cook[name] == nil {
			t.Errorf("docs/cookbook/%s is not run here", name)
		}
	}
	for name, check := range cook {
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) { check(plate{t, k}) })
	}
}

func entries(t *testing.T) (names []string) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "cookbook", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cookbook: %v", err)
	}
	for _, f := range files {
		names = append(names, filepath.Base(f))
	}
	return names
}

// cook has what is done and looked at, by entry. All that sensors notice is cooked at the
// same time, so none disturbs what another looks at.
var cook = map[string]func(plate){
	"disk-full.yaml": func(p plate) {
		p.await("the old file to go", func() error {
			if left := p.names("spool"); !slices.Equal(left, []string{"young"}) {
				return fmt.Errorf("there are %q", left)
			}
			return nil
		})
		p.ends("disk-full", func(n int) { p.k.tells(fmt.Sprint("disk-ok-", n), "disk.space.ok", `{"percent": 70, "mount": "/"}`) })
		p.silent("The disk of")
	},
	"service-down.yaml": func(p plate) { // the real sensor finds it down
		p.ends("service-down", nil)
		p.wrote("calls", "restart web.service replace")
		p.chat("Restarted web.service on")
	},
	"certificate-expiring.yaml": func(p plate) {
		p.ends("certificate-expiring", nil)
		p.chat("The certificate of www.example.test ends in")
		p.mailed("The certificate of www.example.test ends in")
	},
	"memory-leak.yaml": func(p plate) {
		p.ends("memory-leak", nil)
		p.wrote("calls", "restart worker.service replace")
		p.chat("worker.service on")
	},
	"nightly-backup.yaml": func(p plate) {
		p.cli("workflows", "run", "nightly-backup", "--input", "target="+p.path("out", "b1"))
		p.ends("nightly-backup", nil)
		p.wrote("out/commands", "backup "+p.path("out", "b1"), "backup-verify "+p.path("out", "b1"))
	},
	"deploy-with-approval.yaml": func(p plate) {
		p.k.calls("deploy", `{"version": "1.3.0", "previous": "1.2.9", "environment": "production"}`)
		run, step := p.asked()
		for _, who := range []string{"bob", "carol"} {
			p.cli("approvals", "approve", run, step, "--by", who)
		}
		p.ends("deploy-with-approval", nil)
		p.wrote("out/commands", "deploy production 1.3.0")
		p.chat("wants to deploy 1.3.0 to production")
		p.chat("1.3.0 on production: completed")
		p.cli("workflows", "run", "deploy-with-approval", "--input", "version=1.3.0", "--input", "previous=1.2.9", "--by", "ann")
		run, step = p.asked()
		if _, err := p.k.CLI(p.k.ctx, "approvals", "approve", run, step, "--by", "ann"); err == nil {
			p.t.Error("who started it may approve it")
		}
	},
	"canary-in-waves.yaml": func(p plate) {
		p.ends("canary-in-waves", nil)
		p.wrote("out/commands", "install 2.0.0", "install 2.0.0") // the canary and the fleet
		p.chat("2.0.0: completed")
	},
	"failed-logins.yaml": func(p plate) {
		p.ends("failed-logins", nil)
		p.chat("25 failed log-ins on")
		p.wrote("out/messages.jsonl", `"count": 25`)
	},
}

// plate is the part of one entry.
type plate struct {
	t *testing.T
	k *kitchen
}

func (p plate) path(elements ...string) string {
	return filepath.Join(append([]string{p.k.dir}, elements...)...)
}

func (p plate) cli(args ...string) []byte {
	p.t.Helper()
	text, err := p.k.CLI(p.k.ctx, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// asked waits until a step is the one that waits for people.
func (p plate) asked() (run, step string) {
	p.t.Helper()
	p.await("the question", func() error {
		all := decoded[[]struct{ Run, Step string }](p, "approvals", "list")
		if len(all) != 1 {
			return fmt.Errorf("asked: %+v", all)
		}
		run, step = all[0].Run, all[0].Step
		return nil
	})
	return run, step
}

func decoded[T any](p plate, args ...string) (out T) {
	p.t.Helper()
	if err := json.Unmarshal(p.cli(append(args, "-o", "json")...), &out); err != nil {
		p.t.Fatalf("stavily %q: %v", args, err)
	}
	return out
}

// await asks less often than others, for what it waits for takes seconds.
func (p plate) await(what string, check func() error) {
	p.t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-p.k.ctx.Done():
			p.t.Fatalf("%s: %v", what, err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// ends waits until the entry's one run has completed; again is done before each look.
func (p plate) ends(workflow string, again func(n int)) {
	p.t.Helper()
	n := 0
	p.await("the run of "+workflow, func() error {
		if again != nil {
			again(n)
			n++
		}
		for _, r := range decoded[[]struct{ ID, Workflow, Status string }](p, "runs", "list") {
			switch {
			case r.Workflow != workflow:
			case r.Status == "failed" || r.Status == "cancelled" || r.Status == "escalated":
				p.t.Fatalf("run %s is %s: %s", r.ID, r.Status, p.cli("runs", "show", r.ID))
			case r.Status == "completed":
				return nil
			}
		}
		return fmt.Errorf("it has not completed")
	})
}

func (p plate) names(dir string) (names []string) {
	all, err := os.ReadDir(p.path(dir))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// wrote waits until a file has each of the lines, those that are equal as often.
func (p plate) wrote(file string, lines ...string) {
	p.t.Helper()
	p.await(file, func() error {
		text, err := os.ReadFile(p.path(file))
		for _, line := range lines {
			if got, want := strings.Count(string(text), line), count(lines, line); got != want && err == nil {
				err = fmt.Errorf("%q stands there %d times, want %d, in:\n%s", line, got, want, text)
			}
		}
		return err
	})
}

func count(lines []string, line string) (n int) {
	for _, l := range lines {
		if strings.Contains(l, line) {
			n++
		}
	}
	return n
}

func (p plate) chat(text string)   { p.t.Helper(); p.came("chat", &p.k.chat, text) }
func (p plate) mailed(text string) { p.t.Helper(); p.came("mail", &p.k.mail, text) }

func (p plate) came(where string, to *inbox, text string) {
	p.t.Helper()
	p.await(where+" "+text, func() error {
		if all := to.all(); !strings.Contains(all, text) {
			return fmt.Errorf("there came:\n%s", all)
		}
		return nil
	})
}

func (p plate) silent(text string) {
	p.t.Helper()
	if all := p.k.chat.all(); strings.Contains(all, text) {
		p.t.Errorf("there came %q:\n%s", text, all)
	}
}
