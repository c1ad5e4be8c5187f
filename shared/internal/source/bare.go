package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/repository"
	"github.com/stavily/agents/shared/internal/catalog"
)

// The bounds of a tree are plugin.Load's; those of a repository leave room for what is
// not the plugin's, or was.
const (
	maxFiles      = 10_000
	maxBytes      = 512 << 20
	maxRepository = 1 << 30
	maxName       = 4096
	maxMessage    = 8 << 10 // of what git says
	watchEvery    = 100 * time.Millisecond
	killGrace     = 5 * time.Second
)

// errTooMuch is the cause of the end of a fetch that grew too large.
var errTooMuch = fmt.Errorf("%w: more than %d MiB are fetched", limits.ErrTooLarge, maxRepository>>20)

// bare is a repository aside that nothing is checked out of.
type bare struct {
	Git
	program string
	home    string // holds all of it
	dir     string
	url     string
	env     []string
}

// settings is all of git's configuration; that of the system, of the user and of the
// environment does not count. core.bigFileThreshold bounds the memory that one large
// file takes; unpackLimit keeps a fetch in one file, whatever it holds.
const settings = `[core]
	hooksPath = %[1]s
	fsmonitor = false
	bigFileThreshold = 8m
[init]
	templateDir =
	defaultBranch = main
[protocol]
	allow = never
[protocol %[2]q]
	allow = always
[http]
	followRedirects = false
	lowSpeedLimit = 100
	lowSpeedTime = 30
[credential]
	helper =
[fetch]
	unpackLimit = 1
	recurseSubmodules = false
[submodule]
	recurse = false
[gc]
	auto = 0
[maintenance]
	auto = false
[advice]
	detachedHead = false
`

// open makes an empty repository for one fetch from place.
func (g Git) open(ctx context.Context, place repository.Place) (*bare, error) {
	name := g.Program
	if name == "" {
		name = "git"
	}
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("needs git, and there is none in PATH: install it, or install the plugin from a package")
	}
	home, err := os.MkdirTemp(g.Scratch, ".git-")
	if err != nil {
		return nil, err
	}
	b := &bare{Git: g, program: program, home: home, dir: filepath.Join(home, "repository"), url: place.URL()}
	text := fmt.Sprintf(settings, filepath.ToSlash(filepath.Join(home, "none")), place.Scheme)
	if place.Scheme == "file" {
		// The owner has allowed this place by name, whoever it belongs to.
		text += fmt.Sprintf("[safe]\n\tdirectory = %[1]q\n\tdirectory = %[2]q\n", place.Path, path.Join(place.Path, ".git"))
	}
	config := filepath.Join(home, "config")
	err = os.WriteFile(config, []byte(text), 0o600)
	b.env = environment(home, config, place.Scheme)
	if err == nil {
		err = b.run(ctx, "init", "--quiet", "--bare", "--template=", "--", b.dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	return b, nil
}

// passed are the variables of the agent that git needs to find its programs, its
// temporary files, a proxy and the authorities of the host.
var passed = []string{
	"PATH", "TMPDIR", "TEMP", "TMP", "SystemRoot", "PATHEXT", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY",
}

func environment(home, config, scheme string) []string {
	null := os.DevNull
	env := []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "LANG=C", "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + config, "GIT_CONFIG_SYSTEM=" + null, "GIT_ATTR_NOSYSTEM=1",
		"GIT_ALLOW_PROTOCOL=" + scheme, "GIT_PROTOCOL_FROM_USER=0", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE=never",
		"GIT_SSH_COMMAND=ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o PermitLocalCommand=no",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_LITERAL_PATHSPECS=1", "GIT_LFS_SKIP_SMUDGE=1", "GIT_OPTIONAL_LOCKS=0",
	}
	for _, name := range passed {
		if value, found := os.LookupEnv(name); found {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (b *bare) remove() {
	if err := os.RemoveAll(b.home); err != nil {
		b.say("what was fetched is left in " + b.home + ": " + err.Error())
	}
}

// command prepares git. Its processes are one group, so that those that it starts end
// with it.
func (b *bare) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = b.env, b.home, killGrace
	if args[0] != "init" {
		cmd.Env = append(cmd.Env, "GIT_DIR="+b.dir)
	}
	together(cmd)
	return cmd
}

// run runs git to its end, or until the repository is too large.
func (b *bare) run(ctx context.Context, args ...string) error {
	_, err := b.output(ctx, args...)
	return err
}

func (b *bare) output(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := b.command(ctx, args...)
	out, message := limits.NewBuffer(maxMessage), limits.NewBuffer(maxMessage)
	cmd.Stdout, cmd.Stderr = out, message
	if err := cmd.Start(); err != nil {
		return "", err
	}
	watched := make(chan struct{})
	go func() { defer close(watched); b.watch(ctx, cancel) }()
	err := cmd.Wait()
	over := errors.Is(context.Cause(ctx), errTooMuch)
	cancel(nil)
	<-watched
	switch {
	case over:
		return "", errTooMuch
	case err != nil:
		return "", b.explain(ctx, err, string(message.Bytes()))
	}
	return string(out.Bytes()), nil
}

// watch ends what runs when the repository grows beyond its bound.
func (b *bare) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if sizeOf(b.dir) > maxRepository {
				cancel(errTooMuch)
				return
			}
		}
	}
}

func sizeOf(dir string) int64 {
	total := int64(0)
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil // what git takes away meanwhile does not count
	})
	return total
}

// explain makes a sentence of what git said.
func (b *bare) explain(ctx context.Context, err error, said string) error {
	if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	said = strings.Join(strings.Fields(strings.ReplaceAll(said, b.home, "…")), " ")
	hint := ""
	switch {
	case strings.Contains(said, "couldn't find remote ref"):
		hint = ": there is no such branch, tag or commit; see what there is with `git ls-remote`"
	case strings.Contains(said, "could not read Username"), strings.Contains(said, "Authentication failed"):
		hint = ": it is not there, or not public; the agent gives no password: use ssh with a key of the agent's user, or a package"
	case strings.Contains(said, "Host key verification failed"):
		hint = ": put the host's key into known_hosts of the agent's user first"
	case strings.Contains(said, "redirect"):
		hint = ": it has moved; redirects are not followed, so name the new place"
	}
	return fmt.Errorf("git: %.600s (%w)%s", said, err, hint)
}

// list gives the files of a tree, bounded before anything of them is written.
func (b *bare) list(ctx context.Context, hash, sub string) ([]entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := b.command(ctx, "ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", hash+":"+sub)
	message := limits.NewBuffer(maxMessage)
	cmd.Stderr = message
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	entries, err := readTree(out)
	if err != nil {
		cancel()
	}
	ended := cmd.Wait()
	switch {
	case err != nil:
		return nil, err
	case ended != nil && sub != "":
		return nil, fmt.Errorf("has no directory %s at commit %s: %w", sub, hash, fs.ErrNotExist)
	case ended != nil:
		return nil, b.explain(ctx, ended, string(message.Bytes()))
	}
	return entries, nil
}

// readTree reads "<mode> <type> <hash> <size>\t<name>\0" for each file.
func readTree(r io.Reader) ([]entry, error) {
	in := bufio.NewReaderSize(r, 2*maxName)
	var entries []entry
	total := int64(0)
	for {
		line, err := in.ReadSlice(0)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return entries, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("has a name of more than %d characters: %w", maxName, limits.ErrTooLarge)
		case err != nil:
			return nil, err
		}
		head, name, _ := strings.Cut(strings.TrimSuffix(string(line), "\x00"), "\t")
		fields := strings.Fields(head)
		if len(fields) != 4 {
			return nil, fmt.Errorf("git lists %.100q, which is no file", line)
		}
		e := entry{name: name, mode: fields[0], hash: fields[2]}
		if e.ignored() {
			continue
		}
		if e.size, err = strconv.ParseInt(fields[3], 10, 64); err != nil && e.mode != gitSubmodule {
			return nil, fmt.Errorf("git lists %.100q, which has no size", line)
		}
		if err := e.check(); err != nil {
			return nil, err
		}
		if len(entries) == maxFiles {
			return nil, fmt.Errorf("has more than %d files: name the plugin's own directory as sub_directory (%w)", maxFiles, limits.ErrTooLarge)
		}
		if total += e.size; total > maxBytes {
			return nil, fmt.Errorf("has more than %d MiB of files: name the plugin's own directory as sub_directory (%w)", maxBytes>>20, limits.ErrTooLarge)
		}
		entries = append(entries, e)
	}
}

// write writes each blob as it is.
func (b *bare) write(ctx context.Context, entries []entry, root *os.Root) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := b.command(ctx, "cat-file", "--batch", "--buffer")
	message := limits.NewBuffer(maxMessage)
	cmd.Stderr = message
	var names strings.Builder
	for _, e := range entries {
		names.WriteString(e.hash + "\n")
	}
	cmd.Stdin = strings.NewReader(names.String())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	blobs := bufio.NewReader(out)
	for _, e := range entries {
		if err = writeEntry(blobs, e, root); err != nil {
			cancel()
			break
		}
	}
	ended := cmd.Wait()
	if err == nil && ended != nil {
		err = b.explain(ctx, ended, string(message.Bytes()))
	}
	if err == nil {
		err = checkLinks(entries, root)
	}
	return err
}

// checkLinks follows each link to its end: two that look harmless can lead out together.
func checkLinks(entries []entry, root *os.Root) error {
	for _, e := range entries {
		if e.mode != gitLink {
			continue
		}
		if _, err := root.Stat(e.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is a link that leads out of the plugin or nowhere: put a copy in its place (%w)", e.name, err)
		}
	}
	return nil
}

// writeEntry reads "<hash> blob <size>\n<content>\n" and makes the file of it.
func writeEntry(blobs *bufio.Reader, e entry, root *os.Root) error {
	line, err := blobs.ReadSlice('\n')
	if want := fmt.Sprintf("%s blob %d\n", e.hash, e.size); err != nil || string(line) != want {
		return fmt.Errorf("%s: git gives %.100q where it listed %q (%w)", e.name, line, want, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if dir := path.Dir(e.name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	content := io.LimitReader(blobs, e.size)
	if e.mode == gitLink {
		err = writeLink(content, e, root)
	} else {
		err = writeFile(content, e, root)
	}
	if err == nil {
		_, err = blobs.Discard(1)
	}
	return err
}

func writeFile(content io.Reader, e entry, root *os.Root) error {
	mode := fs.FileMode(0o644)
	if e.mode == gitExecutable {
		mode = 0o755
	}
	f, err := root.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	if err == nil && n != e.size {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}

func writeLink(content io.Reader, e entry, root *os.Root) error {
	target, err := limits.ReadAll(content, maxName)
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	if catalog.LeadsOut(e.name, string(target)) {
		return fmt.Errorf("%s is a link that leads out of the plugin, to %.100q: put a copy in its place", e.name, target)
	}
	if runtime.GOOS == "windows" {
		return fmt.Errorf("%s is a link, which not every user may make on Windows: put a copy in its place", e.name)
	}
	return root.Symlink(string(target), e.name)
}
