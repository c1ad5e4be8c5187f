package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/repository"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Request says which tree of which repository is wanted. Of branch, tag and commit at
// most one need be set; a commit beside a branch or tag is where it has to be.
type Request struct {
	URL          string
	Branch       string
	Tag          string
	Commit       string // the whole hash
	SubDirectory string // slash-separated, inside the repository
}

// Git fetches with the git program.
type Git struct {
	Program string // a path, or a name in PATH; empty is git
	Allowed []string
	Scratch string       // a directory for what is fetched, on a disk with room
	Say     func(string) // hears how it goes; nil: nobody
}

// ref is a name of a branch or tag that no program takes for anything else.
var ref = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}$`)

// commit is the whole of a hash: the beginning of one can come to mean another commit.
var commit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Check says what is wrong with the request, without asking anybody.
func (r Request) Check() error {
	for key, name := range map[string]string{"branch": r.Branch, "tag": r.Tag} {
		bad := strings.Contains(name, "..") || strings.Contains(name, "//") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".lock")
		if name != "" && (bad || !ref.MatchString(name)) {
			return fmt.Errorf("%s %.100q: is no name of a %s: letters, digits and . _ / + -, not beginning with '-'", key, name, key)
		}
	}
	switch {
	case r.Branch != "" && r.Tag != "":
		return fmt.Errorf("branch %s and tag %s: name one of them", r.Branch, r.Tag)
	case r.Commit != "" && !commit.MatchString(r.Commit):
		return fmt.Errorf("commit_hash %.100q: must be a whole hash, 40 or 64 hexadecimal digits in lower case", r.Commit)
	case r.SubDirectory != "" && (!fs.ValidPath(r.SubDirectory) || strings.HasPrefix(r.SubDirectory, "-") || strings.ContainsAny(r.SubDirectory, "\\:\x00\n")):
		return fmt.Errorf("sub_directory %.100q: must be a path inside the repository, without '..', ':' and '\\'", r.SubDirectory)
	}
	return nil
}

// refs are what is asked of the server, the likeliest to be served cheaply first.
func (r Request) refs() []string {
	switch {
	case r.Tag != "":
		return []string{"refs/tags/" + r.Tag}
	case r.Commit != "":
		return []string{r.Commit}
	case r.Branch != "":
		return []string{"refs/heads/" + r.Branch}
	}
	return []string{"HEAD"}
}

// Fetch writes the tree that r names into the empty directory into and returns the
// commit that it is of.
func (g Git) Fetch(ctx context.Context, r Request, into string) (string, error) {
	place, err := repository.Allowed(r.URL, g.Allowed)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return "", err
	}
	hash, err := g.fetch(ctx, place, r, into)
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", place.URL(), err)
	}
	return hash, nil
}

func (g Git) fetch(ctx context.Context, place repository.Place, r Request, into string) (string, error) {
	repo, err := g.open(ctx, place)
	if err != nil {
		return "", err
	}
	defer repo.remove()
	begin := time.Now()
	g.say("fetching " + place.URL())
	if err := repo.fetch(ctx, r); err != nil {
		return "", err
	}
	hash, err := repo.resolve(ctx, r)
	if err != nil {
		return "", err
	}
	g.say(fmt.Sprintf("fetched commit %s in %v", hash, time.Since(begin).Round(time.Millisecond)))
	entries, err := repo.list(ctx, hash, r.SubDirectory)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := repo.write(ctx, entries, root); err != nil {
		return "", err
	}
	return hash, nil
}

func (g Git) say(text string) {
	if g.Say != nil {
		g.Say(text)
	}
}

// fetch brings the commit. Servers may refuse a commit that is not the end of a branch;
// then everything is fetched, within the limits.
func (b *bare) fetch(ctx context.Context, r Request) error {
	args := []string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"}
	err := b.run(ctx, append(append(args, "--depth=1", "--", b.url), r.refs()...)...)
	if err == nil || r.Commit == "" || r.Tag != "" || ctx.Err() != nil || errors.Is(err, errTooMuch) {
		return err
	}
	b.say("the server does not give this commit alone: fetching all branches")
	return b.run(ctx, append(args, "--", b.url, "+refs/heads/*:refs/heads/*")...)
}

// resolve gives the hash of the commit that was fetched.
func (b *bare) resolve(ctx context.Context, r Request) (string, error) {
	name := "FETCH_HEAD^{commit}"
	if r.Commit != "" && r.Tag == "" {
		name = r.Commit + "^{commit}"
	}
	out, err := b.output(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
	hash := strings.TrimSpace(out)
	switch {
	case err != nil || !commit.MatchString(hash):
		return "", fmt.Errorf("has no commit %s: %w", name, errors.Join(err, fs.ErrNotExist))
	case r.Commit != "" && hash != r.Commit && r.Tag != "":
		return "", fmt.Errorf("tag %s is at commit %s now, and %s is asked for: somebody moved it", r.Tag, hash, r.Commit)
	case r.Commit != "" && hash != r.Commit:
		return "", fmt.Errorf("commit %s is no commit itself but leads to %s: name that one", r.Commit, hash)
	}
	return hash, nil
}

// entry is one file or link of a commit's tree.
type entry struct {
	name string // slash-separated
	mode string // as git writes it
	hash string
	size int64
}

// Modes of git's trees.
const (
	gitFile       = "100644"
	gitOldFile    = "100664" // of repositories from git's first months
	gitExecutable = "100755"
	gitLink       = "120000"
	gitSubmodule  = "160000"
)

// check refuses entries that are no part of a tree that could be a plugin's.
func (e entry) check() error {
	switch {
	case len(e.name) > maxName || !fs.ValidPath(e.name) || !filepath.IsLocal(filepath.FromSlash(e.name)) || strings.ContainsAny(e.name, "\\\x00"):
		return fmt.Errorf("has a file named %.100q, which leads out or is no name here", e.name)
	case e.mode == gitSubmodule:
		return fmt.Errorf("%s is a submodule, and submodules are not fetched: put its files in its place", e.name)
	case e.mode != gitFile && e.mode != gitOldFile && e.mode != gitExecutable && e.mode != gitLink:
		return fmt.Errorf("%s has mode %s, which is neither a file nor a link", e.name, e.mode)
	case e.mode == gitLink && e.size > maxName:
		return fmt.Errorf("%s is a link of %d bytes, at most %d", e.name, e.size, maxName)
	}
	return nil
}

// ignored reports whether an entry is, or is below, what is no part of a plugin.
func (e entry) ignored() bool {
	return slices.ContainsFunc(strings.Split(e.name, "/"), plugin.Ignored)
}
