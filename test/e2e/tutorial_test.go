//go:build linux

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pupil does what a page says, in its order, in one directory and one terminal.
type pupil struct {
	t        *testing.T
	dir      string
	env      []string
	settings string      // lines of shell that set variables
	block    string      // the last commands
	said     string      // what they printed
	last     *background // the last command that goes on until Ctrl-C
	dev      *background
}

var (
	goesOn  = regexp.MustCompile(`^stavily (dev|plugin run) `)                            // ends at Ctrl-C
	asks    = regexp.MustCompile(`^(stavily plugins rollout|sensor-agent plugins) show `) // changes nothing, and says more a moment later
	setting = regexp.MustCompile(`(?m)^(?:export )?[A-Z_]+=.*$`)
)

// do runs a block of shell commands as one script.
func (p *pupil) do(block string) {
	p.t.Helper()
	p.last, p.block = nil, block
	if strings.HasPrefix(block, "make ") {
		return // the programs are built
	}
	cmd := exec.Command("sh", "-c", "set -e\n"+p.settings+block)
	p.settings += strings.Join(setting.FindAllString(block, -1), "\n") + "\n"
	if goesOn.MatchString(block) {
		cmd = exec.Command("sh", "-c", "exec "+block)
	}
	cmd.Dir, cmd.Env = p.dir, p.env
	if goesOn.MatchString(block) {
		p.last = inBackground(p.t, cmd)
		if strings.HasPrefix(block, "stavily dev") {
			p.dev = p.last
			p.expect("Events and runs as they come:\n")
		}
		return
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	limited := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	limited.Dir, limited.Env = cmd.Dir, cmd.Env
	out, err := limited.CombinedOutput()
	p.said = string(out)
	if err != nil && !strings.Contains(p.said, "does not pass") {
		p.t.Fatalf("%s: %v\n%s", block, err, out)
	}
}

// expect holds what was printed to the lines that the text shows, in their order; "…"
// stands for anything.
func (p *pupil) expect(text string) {
	p.t.Helper()
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		lines = append(lines, strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".*"))
	}
	want := regexp.MustCompile("(?s)" + strings.Join(lines, ".*"))
	from := p.last
	if from == nil && p.said == "" {
		from = p.dev
	}
	end := time.Now().Add(patience)
	if from == nil {
		for !want.MatchString(p.said) {
			if !asks.MatchString(p.block) || time.Now().After(end) {
				p.t.Fatalf("the text shows\n%s\nand there was\n%s", text, p.said)
			}
			time.Sleep(200 * time.Millisecond)
			p.do(p.block)
		}
		return
	}
	for ; !want.MatchString(from.printed()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("the text shows\n%s\nand there was\n%s", text, from.printed())
		}
	}
	if from != p.dev {
		p.interrupt(from)
	}
}

func (p *pupil) interrupt(b *background) {
	p.t.Helper()
	b.done = true
	if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		p.t.Errorf("%v after Ctrl-C: %v", b.cmd.Args, err)
	}
}

// follow does all of a page, and counts its blocks by language.
func (p *pupil) follow(page string) map[string]int {
	p.t.Helper()
	counts := map[string]int{}
	for rest := repository(p.t, page); ; {
		at := block.FindStringSubmatchIndex(rest)
		if at == nil {
			break
		}
		before, language, body := rest[:at[0]], rest[at[2]:at[3]], rest[at[4]:at[5]]
		counts[language]++
		switch language {
		case "bash":
			p.do(body)
		case "text":
			p.expect(body)
		case "python", "yaml":
			files := namedFile.FindAllStringSubmatch(before, -1)
			if files == nil {
				p.t.Fatalf("%s: no file is named before\n%s", page, body)
			}
			if err := os.WriteFile(filepath.Join(p.dir, files[len(files)-1][1]), []byte(body), 0o644); err != nil {
				p.t.Fatal(err)
			}
		}
		rest = rest[at[1]:]
	}
	if p.dev == nil {
		p.t.Fatalf("%s starts no agents", page)
	}
	p.interrupt(p.dev)
	p.dev, p.settings = nil, ""
	return counts
}

var namedFile = regexp.MustCompile("`(backup-age/[a-z_]+\\.[a-z]+)`")

// What the pages for authors tell to type and to write is typed and written, and does what
// they say: from an empty directory to a version that agents have got and then a next one.
func TestFirstPluginAndItsShipping(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	p := &pupil{t: t, dir: t.TempDir(), env: environ("TMPDIR=" + t.TempDir())}
	if n := p.follow("docs/plugins/first-plugin.md"); n["bash"] < 8 || n["text"] < 6 || n["python"] != 2 || n["yaml"] != 1 {
		t.Errorf("the tutorial has %v", n)
	}
	if n := p.follow("docs/plugins/shipping.md"); n["bash"] < 8 || n["text"] < 6 {
		t.Errorf("the page on shipping has %v", n)
	}
}
