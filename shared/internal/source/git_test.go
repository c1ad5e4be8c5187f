package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// remote is a real one that a test spoils.
type remote struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *remote {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: fetching from repositories was not tried")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &remote{t, filepath.Join(dir, "plugin")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("", "init", "-q", "-b", "main")
	return r
}

func (r *remote) git(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t", "GIT_ALLOW_PROTOCOL=file")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *remote) file(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *remote) commit() string {
	r.t.Helper()
	r.git("", "add", "-A")
	r.git("", "commit", "-q", "--allow-empty", "-m", "a change")
	return r.git("", "rev-parse", "HEAD")
}

// blob stores content and returns its hash.
func (r *remote) blob(content string) string {
	return r.git(content, "hash-object", "-w", "--stdin")
}

// forge commits a tree that git itself would not make.
func (r *remote) forge(lines ...string) {
	r.t.Helper()
	tree := r.git(strings.Join(lines, "\n")+"\n", "mktree", "--missing")
	r.git("", "update-ref", "refs/heads/main", r.git("", "commit-tree", "-m", "forged", tree))
}

// fetched is what came, or why nothing did.
type fetched struct {
	dir, scratch string
	commit       string
	err          error
}

func (r *remote) fetch(req Request, allowed ...string) fetched {
	r.t.Helper()
	if req.URL == "" {
		req.URL = r.dir
	}
	if allowed == nil {
		allowed = []string{r.dir}
	}
	return fetch(r.t, req, allowed)
}

func fetch(t *testing.T, req Request, allowed []string) fetched {
	t.Helper()
	f := fetched{dir: t.TempDir(), scratch: t.TempDir()}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g := Git{Allowed: allowed, Scratch: f.scratch, Say: func(s string) { t.Log(s) }}
	f.commit, f.err = g.Fetch(ctx, req, f.dir)
	if left, err := os.ReadDir(f.scratch); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v in the scratch directory", left, err)
	}
	return f
}

func (f fetched) names() []string {
	var out []string
	_ = filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(f.dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	return out
}

func (f fetched) refused(t *testing.T, want string) {
	t.Helper()
	if f.err == nil || !strings.Contains(f.err.Error(), want) {
		t.Errorf("err = %v\nwant   %s; got files %v", f.err, want, f.names())
	}
}

// has asserts that exactly these files came.
func (f fetched) has(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := f.names(); f.err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, f.err, want)
	}
}

func TestFetchWhatIsNamed(t *testing.T) {
	r := newRepository(t)
	r.file("main.py", "one")
	r.file("bin/run", "#!/bin/sh\n")
	r.file("plugins/disk/plugin.yaml", "id: disk")
	r.file("__pycache__/a.pyc", "x")
	if err := os.Chmod(filepath.Join(r.dir, "bin/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	first := r.commit()
	r.git("", "tag", "-a", "-m", "first", "v1.0.0")
	r.git("", "branch", "stable")
	r.file("main.py", "two")
	second := r.commit()
	r.git("", "tag", "v2.0.0")
	for name, c := range map[string]struct {
		Request
		commit, content string
	}{
		"the default branch":             {Request{}, second, "two"},
		"a branch":                       {Request{Branch: "stable"}, first, "one"},
		"an annotated tag":               {Request{Tag: "v1.0.0"}, first, "one"},
		"a plain tag":                    {Request{Tag: "v2.0.0"}, second, "two"},
		"a commit that is no branch end": {Request{Commit: first}, first, "one"},
		"a tag where it has to be":       {Request{Tag: "v1.0.0", Commit: first}, first, "one"},
		"a commit beside its branch":     {Request{Branch: "main", Commit: first}, first, "one"},
		"by file://":                     {Request{URL: "file://" + r.dir, Branch: "stable"}, first, "one"},
	} {
		f := r.fetch(c.Request)
		f.has(t, "main.py", "bin/run", "plugins/disk/plugin.yaml")
		if got, _ := os.ReadFile(filepath.Join(f.dir, "main.py")); f.commit != c.commit || string(got) != c.content {
			t.Errorf("%s: commit %s with %q; want %s with %q", name, f.commit, got, c.commit, c.content)
		}
		if info, err := os.Stat(filepath.Join(f.dir, "bin/run")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o755 {
			t.Errorf("%s: bin/run: %v, %v", name, info, err)
		}
	}
	r.fetch(Request{SubDirectory: "plugins/disk"}).has(t, "plugin.yaml")
	r.fetch(Request{SubDirectory: "plugins/none"}).refused(t, "has no directory plugins/none at commit")
	r.fetch(Request{SubDirectory: "main.py"}).refused(t, "has no directory main.py")
	r.fetch(Request{Branch: "none"}).refused(t, "there is no such branch, tag or commit")
	r.fetch(Request{Tag: "v1.0.0", Commit: second}).refused(t, "somebody moved it")
	r.fetch(Request{Commit: strings.Repeat("0", 40)}).refused(t, "repository file://")
	r.fetch(Request{Commit: r.git("", "rev-parse", "v1.0.0")}).refused(t, "is no commit itself")
}

// TestWhatLooksLikeAnOption never reaches a command line.
func TestWhatLooksLikeAnOption(t *testing.T) {
	r := newRepository(t)
	r.file("main.py", "one")
	r.commit()
	for name, c := range map[string]struct {
		Request
		want string
	}{
		"branch":                {Request{Branch: "--upload-pack=touch evil"}, "is no name of a branch"},
		"branch -o":             {Request{Branch: "-o"}, "is no name of a branch"},
		"branch with a range":   {Request{Branch: "a..b"}, "is no name of a branch"},
		"branch with a reflog":  {Request{Branch: "main@{1}"}, "is no name of a branch"},
		"branch with a refspec": {Request{Branch: "main:refs/heads/x"}, "is no name of a branch"},
		"tag":                   {Request{Tag: "-x"}, "is no name of a tag"},
		"commit":                {Request{Commit: "--help"}, "must be a whole hash"},
		"short commit":          {Request{Commit: "abc1234"}, "must be a whole hash"},
		"two names":             {Request{Branch: "a", Tag: "b"}, "name one of them"},
		"directory up":          {Request{SubDirectory: "../x"}, "must be a path inside"},
		"directory option":      {Request{SubDirectory: "-x"}, "must be a path inside"},
		"directory absolute":    {Request{SubDirectory: "/etc"}, "must be a path inside"},
		"directory of a ref":    {Request{SubDirectory: "a:b"}, "must be a path inside"},
	} {
		f := r.fetch(c.Request)
		if f.refused(t, c.want); len(f.names()) > 0 {
			t.Errorf("%s: left %v", name, f.names())
		}
	}
}

func TestHostileRepositories(t *testing.T) {
	for name, c := range map[string]struct {
		make func(r *remote)
		want string // empty: it is taken, without what is hostile in it
	}{
		"link out":      {func(r *remote) { r.forge("120000 blob " + r.blob("../../etc/passwd") + "\tlink") }, "link that leads out"},
		"absolute link": {func(r *remote) { r.forge("120000 blob " + r.blob("/etc/passwd") + "\tlink") }, "link that leads out"},
		"two links lead out": {func(r *remote) {
			r.forge("120000 blob "+r.blob(".")+"\td", "120000 blob "+r.blob("d/..")+"\te")
		}, "leads out of the plugin or nowhere"},
		"link of a megabyte": {func(r *remote) { r.forge("120000 blob " + r.blob(strings.Repeat("a/", 1<<19)) + "\tlink") }, "is a link of 1048576 bytes"},
		"link that loops":    {func(r *remote) { r.forge("120000 blob "+r.blob("b")+"\ta", "120000 blob "+r.blob("a")+"\tb") }, "or nowhere"},
		"submodule to file://": {func(r *remote) {
			r.file("main.py", "x")
			r.commit()
			r.git("", "-c", "protocol.file.allow=always", "submodule", "add", "-q", "file://"+r.dir, "sub")
			r.commit()
		}, "sub is a submodule"},
		"submodule that is a command": {func(r *remote) {
			modules := r.blob("[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c touch% /tmp/evil\n")
			r.file("a", "a")
			r.forge("100644 blob "+modules+"\t.gitmodules", "160000 commit "+r.commit()+"\tx")
		}, "x is a submodule"},
		"git directory in the tree": {func(r *remote) {
			inner := r.git("100755 blob "+r.blob("#!/bin/sh\ntouch /tmp/evil\n")+"\tpost-checkout\n", "mktree")
			r.forge("040000 tree "+inner+"\t.git", "100644 blob "+r.blob("x")+"\tmain.py")
		}, ""},
		"git file in the tree": {func(r *remote) {
			r.forge("100644 blob "+r.blob("gitdir: /etc")+"\t.git", "100644 blob "+r.blob("x")+"\tmain.py")
		}, ""},
		"parent in the tree": {func(r *remote) {
			inner := r.git("100644 blob "+r.blob("x")+"\tevil\n", "mktree")
			r.forge("040000 tree " + inner + "\t..")
		}, "leads out"},
		"filter and attributes": {func(r *remote) {
			r.file(".gitattributes", "main.py filter=evil export-ignore\n*.txt text eol=crlf\n")
			r.file("main.py", "$Format:%H$\n")
			r.file("a.txt", "a\nb\n")
			r.git("", "config", "filter.evil.smudge", "touch "+filepath.Join(r.dir, "../evil"))
			r.commit()
		}, ""},
		"hooks in the repository": {func(r *remote) {
			for _, hook := range []string{"post-checkout", "pre-receive", "update", "post-update", "reference-transaction", "post-upload-pack"} {
				path := filepath.Join(r.dir, ".git/hooks", hook)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\ntouch "+filepath.Join(r.dir, "../evil")+"\n"), 0o755)); err != nil {
					r.t.Fatal(err)
				}
			}
			r.git("", "config", "uploadpack.packObjectsHook", "touch "+filepath.Join(r.dir, "../evil")+";")
			r.git("", "config", "core.fsmonitor", "touch "+filepath.Join(r.dir, "../evil"))
			r.git("", "config", "core.sshCommand", "touch "+filepath.Join(r.dir, "../evil"))
			if err := os.WriteFile(filepath.Join(r.dir, "main.py"), []byte("x"), 0o644); err != nil {
				r.t.Fatal(err)
			}
			r.git("", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "add", "-A")
			r.git("", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "commit", "-q", "-m", "x")
		}, ""},
		"100,000 files": {func(r *remote) {
			leaf := r.blob("x")
			var inner strings.Builder
			for n := range 1000 {
				fmt.Fprintf(&inner, "100644 blob %s\tf%04d\n", leaf, n)
			}
			tree := r.git(inner.String(), "mktree")
			var lines []string
			for n := range 100 {
				lines = append(lines, fmt.Sprintf("040000 tree %s\td%03d", tree, n))
			}
			r.forge(lines...)
		}, "more than 10000 files"},
		"600 MB in one of 10": {func(r *remote) {
			big := r.blob(strings.Repeat("zeros", 2<<20))
			var lines []string
			for n := range 60 {
				lines = append(lines, fmt.Sprintf("100644 blob %s\tf%02d", big, n))
			}
			r.forge(lines...)
		}, "more than 512 MiB of files"},
		"a directory in itself": {func(r *remote) {
			inner := r.git("100644 blob "+r.blob("x")+"\tf\n", "mktree")
			for range 14 {
				inner = r.git("040000 tree "+inner+"\ta\n040000 tree "+inner+"\tb\n", "mktree")
			}
			r.forge("040000 tree " + inner + "\tc")
		}, "more than 10000 files"},
		"a name of 5,000 characters": {func(r *remote) { r.forge("100644 blob " + r.blob("x") + "\t" + strings.Repeat("n", 5000)) }, "leads out or is no name here"},
		"nothing":                    {func(r *remote) {}, "git: "},
		"no repository":              {func(r *remote) { os.RemoveAll(filepath.Join(r.dir, ".git")) }, "git: "},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			c.make(r)
			f := r.fetch(Request{})
			if _, err := os.Stat(filepath.Join(r.dir, "../evil")); err == nil {
				t.Error("what the repository says was run")
			}
			if c.want != "" {
				f.refused(t, c.want)
				return
			}
			if f.err != nil || !slices.Contains(f.names(), "main.py") || slices.ContainsFunc(f.names(), func(n string) bool { return strings.HasPrefix(n, ".git/") }) {
				t.Errorf("got %v, %v", f.names(), f.err)
			}
			if b, err := os.ReadFile(filepath.Join(f.dir, "a.txt")); err == nil && string(b) != "a\nb\n" {
				t.Errorf("content was changed to %q", b)
			}
		})
	}
}

// TestTheHostsConfigurationDoesNotCount: what the agent's user has set for git, or what
// somebody put into its environment, changes nothing.
func TestTheHostsConfigurationDoesNotCount(t *testing.T) {
	r := newRepository(t)
	r.file("main.py", "x")
	r.commit()
	home := t.TempDir()
	evil := filepath.Join(home, "evil")
	template := filepath.Join(home, "template/hooks")
	if err := errors.Join(os.MkdirAll(template, 0o755),
		os.WriteFile(filepath.Join(template, "reference-transaction"), []byte("#!/bin/sh\ntouch "+evil+"\n"), 0o755),
		os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[init]\n\ttemplateDir = "+filepath.Dir(template)+"\n[url \"file:///nowhere\"]\n\tinsteadOf = \"file://\"\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_TEMPLATE_DIR", filepath.Dir(template))
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
	t.Setenv("GIT_CONFIG_VALUE_0", template)
	t.Setenv("GIT_DIR", "/nowhere")
	t.Setenv("GIT_EXTERNAL_DIFF", "touch "+evil)
	f := fetch(t, Request{URL: r.dir}, []string{r.dir})
	f.has(t, "main.py")
	if _, err := os.Stat(evil); err == nil {
		t.Error("a hook of the host's templates ran")
	}
}

func TestTooMuchIsFetched(t *testing.T) {
	dir := t.TempDir()
	b := &bare{dir: dir}
	big := filepath.Join(dir, "pack")
	if err := errors.Join(os.WriteFile(big, nil, 0o600), os.Truncate(big, maxRepository+1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	b.watch(ctx, cancel) // returns because it cancels
	if err := context.Cause(ctx); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("cause %v", err)
	}
}

func TestAHangingServerIsLeft(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the program that hangs is a shell script")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "git")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ntest \"$1\" = init && exit 0\nsleep 60 & wait\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 200*time.Millisecond, errors.New("it took too long"))
	defer cancel()
	begin := time.Now()
	_, err := Git{Program: program, Allowed: []string{"https://example.com"}, Scratch: dir}.Fetch(ctx, Request{URL: "https://example.com/x"}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "it took too long") || time.Since(begin) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// A place that the owner allows by name may belong to another user, which git would
// refuse where the configuration of this package did not count.
func TestARepositoryOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a repository to another user")
	}
	r := newRepository(t)
	r.file("main.py", "x")
	r.commit()
	err := filepath.WalkDir(r.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, 12345, 12345))
	})
	if err != nil {
		t.Fatal(err)
	}
	r.fetch(Request{}).has(t, "main.py")
}
